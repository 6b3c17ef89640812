/**
 * Checks requests against their schemas. Nothing is coerced, defaulted or dropped: a value fits or the request is
 * refused. Only whole numbers in paths and query strings, which arrive as text, are read first, in their one spelling.
 *
 * What a refusal tells is bounded and never holds a value: the names come from the schema, that of an unknown field
 * only if it looks like a misspelt one.
 */
import type { FastifySchemaCompiler, RouteOptions } from 'fastify'
import { type TSchema, Type } from 'typebox'
import { Compile } from 'typebox/compile'
import { Refusal, type Violation } from '../errors.ts'
import { LIMITS } from '../limits.ts'

const INTEGER = /^(?:0|[1-9]\d{0,15})$/
const WORDS = /^[a-z]{1,20}(?:_[a-z]{1,20}){0,3}$/

export const schemaValidator: FastifySchemaCompiler<TSchema> = ({ schema, httpPart = 'body' }) => {
  const validator = Compile(schema)
  const integers = httpPart === 'body' ? [] : integerNames(schema)
  const part = httpPart === 'querystring' ? 'query' : httpPart
  return (sent: unknown) => {
    const value = integers.length === 0 ? sent : withIntegers(sent, integers)
    if (validator.Check(value)) return { value }
    return { error: invalid(violationsOf(value, part, () => validator.Errors(value))) }
  }
}

const NoQuery = Type.Object({}, { additionalProperties: false })

/** For onRoute: a route of the API that takes no parameters in its query string refuses them. */
export function refuseStrayQuery(route: RouteOptions): void {
  const { schema } = route
  if (schema === undefined || (schema.security === undefined && schema.body === undefined)) return
  schema.querystring ??= NoQuery
}

export function invalid(violations: readonly Violation[]): Refusal {
  return new Refusal('VALIDATION_FAILED', 'The fields in `errors` break the rules named there.', { violations })
}

function integerNames(schema: TSchema): string[] {
  const { properties = {} } = schema as { properties?: Record<string, { type?: string }> }
  return Object.keys(properties).filter(name => properties[name]?.type === 'integer')
}

function withIntegers(sent: unknown, names: readonly string[]): unknown {
  const value: Record<string, unknown> = Object.assign(Object.create(null), sent)
  for (const name of names) {
    const text = value[name]
    if (typeof text === 'string' && INTEGER.test(text)) value[name] = Number(text)
  }
  return value
}

type ValidationError = ReturnType<ReturnType<typeof Compile>['Errors']>[number]

function violationsOf(value: unknown, part: string, errors: () => ValidationError[]): Violation[] {
  if (value === null && part === 'body') return [{ field: part, rule: 'required' }]
  if (typeof value === 'object' && value !== null && Object.keys(value).length > LIMITS.bodyFieldsMax) {
    return [{ field: part, rule: 'maxProperties' }]
  }
  return errors().flatMap(error => violation(error, part))
}

function violation(error: ValidationError, part: string): Violation[] {
  const field = error.instancePath === '' ? part : error.instancePath.slice(1).replaceAll('/', '.')
  switch (error.keyword) {
    case 'required':
      return (error.params as { requiredProperties: string[] }).requiredProperties.map(name => ({
        field: name,
        rule: 'required',
      }))
    case 'boolean': // the schema of an unknown field is `false`; its name is the caller's text
      return [{ field: WORDS.test(field) ? field : part, rule: 'additionalProperties' }]
    case 'additionalProperties': // said by the above, name by name
      return []
    default:
      return [{ field, rule: error.keyword }]
  }
}
