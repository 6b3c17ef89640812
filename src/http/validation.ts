/**
 * Checks requests against their schemas. Nothing is coerced, defaulted or dropped: a value fits or the request is
 * refused. Only whole numbers in paths and query strings, which arrive as text, are read first, in their one spelling.
 *
 * What a refusal tells is bounded and never holds a value: the names come from the schema, that of an unknown field
 * only if it looks like a misspelt one.
 *
 * What a request costs is bounded too, although every rule is tried: fields are counted first, text is no longer than the
 * body or the address may be, and the patterns of the routes take time in proportion to it.
 */
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import type { FastifySchemaCompiler, RouteOptions } from 'fastify'
import { Refusal, type Violation } from '../errors.ts'
import { LIMITS } from '../limits.ts'

const INTEGER = /^(?:0|[1-9]\d{0,15})$/
const WORDS = /^[a-z]{1,20}(?:_[a-z]{1,20}){0,3}$/

const ajv = new Ajv({
  allErrors: true,
  messages: false,
  ownProperties: true,
  // A keyword that is unknown, or has no effect where it stands, is an error.
  strict: true,
  strictRequired: true,
  // Compiling the schema of schemas takes longer than all of ours together; test/http/openapi.test.ts holds them to it.
  meta: false,
  validateSchema: false,
})

/** Schemas are compiled when the first request meets them: half a millisecond each, and most processes never need most. */
export const schemaValidator: FastifySchemaCompiler<object> = ({ schema, httpPart = 'body' }) => {
  let fits: ValidateFunction | undefined
  const integers = httpPart === 'body' ? [] : integerNames(schema)
  const part = httpPart === 'querystring' ? 'query' : httpPart
  return (sent: unknown) => {
    const unfit = unfitAsWhole(sent, part)
    if (unfit !== undefined) return { error: invalid([unfit]) }
    const value = integers.length === 0 ? sent : withIntegers(sent, integers)
    fits ??= ajv.compile(schema)
    if (fits(value)) return { value }
    const violations = (fits.errors ?? []).slice(0, LIMITS.violationsMax)
    return { error: invalid(violations.map(error => violation(error, part))) }
  }
}

const NoFields = { type: 'object', properties: {}, additionalProperties: false }
const fitsNoFields = schemaValidator({ schema: NoFields, httpPart: 'body' } as never)

/** For onRoute: a route of the API that takes no parameters in its query string refuses them. */
export function refuseStrayQuery(route: RouteOptions): void {
  const { schema } = route
  if (schema === undefined || (schema.security === undefined && schema.body === undefined)) return
  schema.querystring ??= NoFields
}

/** A field that nobody reads is refused like any other unknown one. @throws {Refusal} VALIDATION_FAILED */
export function refuseStrayBody(body: unknown): void {
  if (body === undefined) return
  const { error } = fitsNoFields(body) as { error?: Refusal }
  if (error !== undefined) throw error
}

export function invalid(violations: readonly Violation[]): Refusal {
  return new Refusal('VALIDATION_FAILED', 'The fields in `errors` break the rules named there.', { violations })
}

function integerNames(schema: object): string[] {
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

/** No schema takes null, or so many fields that looking at each of them would be work. */
function unfitAsWhole(value: unknown, part: string): Violation | undefined {
  if (value === null && part === 'body') return { field: part, rule: 'required' }
  if (typeof value === 'object' && value !== null && Object.keys(value).length > LIMITS.bodyFieldsMax) {
    return { field: part, rule: 'maxProperties' }
  }
  return undefined
}

function violation({ keyword: rule, instancePath, params }: ErrorObject, part: string): Violation {
  switch (rule) {
    case 'required':
      return { field: params.missingProperty, rule }
    case 'additionalProperties': // the name is the caller's text
      return { field: WORDS.test(params.additionalProperty) ? params.additionalProperty : part, rule }
    default:
      return { field: instancePath === '' ? part : instancePath.slice(1).replaceAll('/', '.'), rule }
  }
}
