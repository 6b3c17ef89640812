/**
 * Schemas are plain JSON Schema: what a route says is what its requests are checked by and what the reference shows. Here
 * are the two kinds of object they use, and the types of what fits them, so that handlers and answers are checked as well.
 */
import type { FastifyTypeProvider } from 'fastify'

/** For Fastify: types of body, parameters and answers follow from the schemas of the route. */
export interface SchemaTypes extends FastifyTypeProvider {
  readonly validator: ValueOf<this['schema']>
  readonly serializer: ValueOf<this['schema']>
}

type Fields = Readonly<Record<string, object>>

interface Notes {
  /** Its name in the reference, and in clients that are generated from that. */
  readonly title?: string
  readonly description?: string
  readonly examples?: readonly unknown[]
}

/** Of an answer: has these fields, and may have more in a later version. */
export function object<const F extends Fields>(fields: F, notes: Notes = {}) {
  const required = Object.keys(fields) as (keyof F & string)[]
  return { type: 'object', properties: fields, required, ...notes } as const
}

/** Of a request: has these fields and no others. */
export function closed<const R extends Fields, const O extends Fields = Record<never, never>>(
  required: R,
  optional: O = {} as O,
  notes: Notes = {},
) {
  const names = Object.keys(required) as (keyof R & string)[]
  return {
    type: 'object',
    properties: { ...required, ...optional },
    ...(names.length > 0 && { required: names }),
    additionalProperties: false,
    ...notes,
  } as const
}

/** The type of the values that fit a schema, for as much of JSON Schema as the routes use. */
export type ValueOf<S> = S extends { readonly enum: readonly (infer Value)[] }
  ? Value
  : S extends { readonly const: infer Value }
    ? Value
    : S extends { readonly anyOf: readonly (infer Each)[] }
      ? ValueOf<Each>
      : S extends { readonly properties: infer P }
        ? Members<P, RequiredOf<S>>
        : S extends { readonly additionalProperties: infer Each }
          ? Readonly<Record<string, ValueOf<Each>>>
          : S extends { readonly items: infer Each }
            ? readonly ValueOf<Each>[]
            : S extends { readonly type: infer T }
              ? Plain<T>
              : unknown

type RequiredOf<S> = S extends { readonly required?: infer Names }
  ? Names extends readonly (infer Name)[]
    ? Name
    : never
  : never

type Members<P, Required> = {
  [K in keyof P as K extends Required ? K : never]: ValueOf<P[K]>
} & { [K in keyof P as K extends Required ? never : K]?: ValueOf<P[K]> }

interface PlainTypes {
  readonly string: string
  readonly integer: number
  readonly number: number
  readonly boolean: boolean
  readonly null: null
}

type Plain<T> = T extends readonly (infer Each)[] ? Plain<Each> : T extends keyof PlainTypes ? PlainTypes[T] : unknown
