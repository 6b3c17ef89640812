/**
 * What an error means for the audit trail, and how to answer it as a problem (RFC 9457) where that is asked for.
 *
 * Errors are read by the convention that Fastify, Express and http-errors share: `statusCode` or `status`. Nothing of
 * an error's message is recorded for a validation failure, because parsers like to quote what they were given.
 */
import { STATUS_CODES } from 'node:http'
import { safeText } from '../audit/redaction.ts'
import type { RequestContext } from '../context/context.ts'
import { ERRORS, type ErrorCode, type Violation } from '../errors.ts'
import { type Problem, problem } from '../http/problem.ts'
import { LIMITS } from '../limits.ts'

/** `refused`: an answer the application chose (404, 401, ...), which is no failure and no event of ours. */
export type Failure =
  | { readonly kind: 'validation'; readonly violations: readonly Violation[] }
  | { readonly kind: 'refused' }
  | { readonly kind: 'error' }

/** What is wrong with a request that is answered with this status, when the error itself does not say. */
const VALIDATION_RULE: Readonly<Record<number, string>> = {
  400: 'malformed',
  413: 'size',
  415: 'content_type',
  422: 'invalid',
}

export function classifyFailure(error: unknown, status: number): Failure {
  const named = violationsOf(error)
  if (named !== undefined && status < 500) return { kind: 'validation', violations: named }
  const rule = VALIDATION_RULE[status]
  if (rule !== undefined) return { kind: 'validation', violations: [{ field: 'body', rule }] }
  return { kind: status >= 400 && status < 500 ? 'refused' : 'error' }
}

/** The status an error asks for; 500 when it asks for none. */
export function statusOf(error: unknown, otherwise = 500): number {
  const { statusCode, status } = fieldsOf(error)
  const asked = statusCode ?? status
  return typeof asked === 'number' && Number.isInteger(asked) && asked >= 400 && asked <= 599 ? asked : otherwise
}

function violationsOf(error: unknown): Violation[] | undefined {
  const { validation, validationContext, violations } = fieldsOf(error)
  if (Array.isArray(validation)) return validation.map(failure => fromAjv(fieldsOf(failure), validationContext))
  if (!Array.isArray(violations)) return undefined
  return violations.map(fieldsOf).map(({ field, rule }) => ({ field: textOf(field), rule: textOf(rule) }))
}

/** Fastify validates with Ajv: `/evse/0/id` of the body becomes `evse.0.id`, of the query `querystring.evse.0.id`. */
function fromAjv(failure: Record<string, unknown>, where: unknown): Violation {
  const { instancePath, keyword, params } = failure
  const path = typeof instancePath === 'string' ? instancePath.split('/').slice(1) : []
  const { missingProperty } = fieldsOf(params)
  if (typeof missingProperty === 'string') path.push(missingProperty)
  if (typeof where === 'string' && (where !== 'body' || path.length === 0)) path.unshift(where)
  return { field: path.join('.'), rule: textOf(keyword) }
}

function textOf(value: unknown, otherwise = 'unknown'): string {
  return typeof value === 'string' ? value : otherwise
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

const PROBLEM_CODE: Readonly<Record<number, ErrorCode>> = {
  413: 'PAYLOAD_TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  500: 'INTERNAL_ERROR',
}

/**
 * The answer to a failure. Validation failures and unhandled errors are told in the words of the error table; other
 * refusals are the application's own, so they keep its status and, as it is meant for the client, its message.
 */
export function problemFor(error: unknown, status: number, context: RequestContext | undefined): AnyProblem {
  const failure = classifyFailure(error, status)
  const request_id = context?.requestId ?? '-'
  const code = failure.kind === 'validation' ? (PROBLEM_CODE[status] ?? 'VALIDATION_FAILED') : PROBLEM_CODE[status]
  if (code === undefined) {
    const title = STATUS_CODES[status] ?? 'Error'
    const message = failure.kind === 'refused' ? textOf(fieldsOf(error).message, title) : ERRORS.INTERNAL_ERROR.help
    const detail = safeText(message, LIMITS.errorMessageCharactersMax)
    return { type: 'about:blank', title, status, detail, request_id }
  }
  return problem(code, request_id, failure.kind === 'validation' ? { errors: failure.violations } : {})
}

/** One of the error table, or of the application's own, which has no code in it. */
type AnyProblem = Omit<Problem, 'code'> & Partial<Pick<Problem, 'code'>>
