/** Errors as answers: RFC 9457 `application/problem+json`, all from the one table in errors.ts. */
import type { FastifyReply } from 'fastify'
import { ERRORS, type ErrorCode, type Refusal, type Violation } from '../errors.ts'

export const PROBLEM_TYPE = 'application/problem+json'

export interface Problem {
  /** `urn:ev-central:error:<code>` */
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ErrorCode
  readonly request_id: string
  /** VALIDATION_FAILED and its kin: which field broke which rule; never the value. */
  readonly errors?: readonly Violation[]
}

export function problem(
  code: ErrorCode,
  requestId: string,
  options: { detail?: string; errors?: readonly Violation[] | undefined } = {},
): Problem {
  const { title, status, help } = ERRORS[code]
  return {
    type: `urn:ev-central:error:${code}`,
    title,
    status,
    detail: options.detail ?? help,
    code,
    request_id: requestId,
    ...(options.errors === undefined ? {} : { errors: options.errors }),
  }
}

/** Which login scheme would have helped (RFC 9110 wants it said with every 401). */
const CHALLENGE: Partial<Record<ErrorCode, string>> = {
  AUTHENTICATION_FAILED: 'Bearer realm="ev-central"',
  UNAUTHORIZED: 'X-Admin-Key realm="ev-central"',
  SESSION_ENDED: 'X-Admin-Key realm="ev-central"',
}

/** What a refusal says of the input, for those that could not name a field too. */
export function violationsOf(refusal: Refusal): readonly Violation[] {
  return refusal.violations ?? [{ field: 'body', rule: 'content' }]
}

/** Sends the problem of a refusal; `more` are members that this route adds to it. */
export function sendProblem(reply: FastifyReply, refusal: Refusal, more?: Readonly<Record<string, unknown>>): void {
  const { status } = ERRORS[refusal.code]
  const challenge = CHALLENGE[refusal.code]
  if (challenge !== undefined) reply.header('www-authenticate', challenge)
  if (status === 429 || status === 503) reply.header('retry-after', String(refusal.retryAfterSeconds ?? 1))
  const body = problem(refusal.code, reply.request.auditContext.requestId, {
    detail: refusal.message,
    errors: status === 422 ? violationsOf(refusal) : undefined,
  })
  sendProblemBody(reply, status, more === undefined ? body : { ...body, ...more })
}

/** As bytes, for to a text Fastify would add a `charset`, which this media type does not have. */
export function sendProblemBody(reply: FastifyReply, status: number, body: object): FastifyReply {
  return reply
    .code(status)
    .type(PROBLEM_TYPE)
    .send(Buffer.from(JSON.stringify(body)))
}
