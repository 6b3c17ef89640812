/**
 * The one place where what went wrong becomes an answer and, where the caller's input or we are at fault, an event:
 * VALIDATION_ERROR for input, ERROR for everything that nobody foresaw. Decisions (401, 403, 409 ...) were recorded by
 * whoever took them.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Audit } from '../audit/audit.ts'
import { loggableError } from '../audit/redaction.ts'
import { ERRORS, type ErrorCode, Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { HttpDeps } from './deps.ts'
import { isCpId } from './fields.ts'
import { brokenRequest } from './gate.ts'
import { sendProblem, violationsOf } from './problem.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route decides whether a charge point is authorized, and its refusals say so. */
    isLogin?: boolean
    /** No body is as good as an empty object. */
    isBodyOptional?: boolean
    /** What the route may refuse with, beyond what its kind implies; for the reference. */
    errors?: readonly ErrorCode[]
  }
}

const INVALID_INPUT: ReadonlySet<ErrorCode> = new Set([
  'VALIDATION_FAILED',
  'PAYLOAD_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'BAD_REQUEST',
  'URI_TOO_LONG',
])

export function createErrorHandler(deps: Pick<HttpDeps, 'audit' | 'logger'>) {
  return (error: unknown, request: FastifyRequest, reply: FastifyReply): void => {
    keepConnection(request, reply)
    const refusal = asRefusal(error, request)
    if (refusal === undefined || refusal.code === 'INTERNAL_ERROR') {
      unforeseen(deps, error, request)
      sendProblem(reply, new Refusal('INTERNAL_ERROR'), loginRefusal(request))
      return
    }
    if (refusal.cause !== undefined) notedByOperators(deps.logger, refusal, request)
    if (INVALID_INPUT.has(refusal.code)) invalidInput(deps.audit, refusal, request)
    sendProblem(reply, refusal, loginRefusal(request))
  }
}

function unforeseen(deps: Pick<HttpDeps, 'audit' | 'logger'>, error: unknown, request: FastifyRequest): void {
  const context = request.auditContext
  deps.audit.error(whoOf(request), context, error)
  deps.logger.error({ err: loggableError(error), request_id: context.requestId }, 'unhandled error')
}

/** A refusal with a cause is no decision but a part of ours that cannot work now. */
function notedByOperators(logger: HttpDeps['logger'], refusal: Refusal, request: FastifyRequest): void {
  const { requestId } = request.auditContext
  logger.warn(
    { err: loggableError(refusal.cause), code: refusal.code, request_id: requestId },
    'temporarily unavailable',
  )
}

function invalidInput(audit: Audit, refusal: Refusal, request: FastifyRequest): void {
  if (request.raw.destroyed && !request.raw.complete) return // the client broke off; there is no input to speak of
  audit.validationError(whoOf(request), request.auditContext, violationsOf(refusal), ERRORS[refusal.code].status)
}

/** The cp_id that was named, if it is one; else whoever the guard let pass. */
function whoOf(request: FastifyRequest): string | undefined {
  return claimedId(request) ?? request.chargePoint?.cp_id ?? request.actor?.name
}

function claimedId(request: FastifyRequest): string | undefined {
  const claimed = (request.body as { cp_id?: unknown } | null | undefined)?.cp_id
  return isCpId(claimed) ? claimed : undefined
}

/** Whatever a login is refused for, its answer says so in the words that a charge point looks at. */
function loginRefusal(request: FastifyRequest): Record<string, unknown> | undefined {
  if (request.routeOptions.config?.isLogin !== true) return undefined
  return { success: false, cp_id: claimedId(request) ?? null, is_authorized: false }
}

/** Refusals as they are; Fastify's own objections by their meaning; undefined for what nobody foresaw. */
function asRefusal(error: unknown, request: FastifyRequest): Refusal | undefined {
  if (error instanceof Refusal) return error
  const { code, statusCode } = error as { code?: unknown; statusCode?: unknown }
  if (request.raw.destroyed && !request.raw.complete) return new Refusal('BAD_REQUEST')
  if (typeof code !== 'string' || !code.startsWith('FST_')) return undefined
  if (statusCode === 413) {
    return new Refusal('PAYLOAD_TOO_LARGE', undefined, { violations: [{ field: 'body', rule: 'size' }] })
  }
  if (statusCode === 415) {
    return new Refusal('UNSUPPORTED_MEDIA_TYPE', undefined, { violations: [{ field: 'content-type', rule: 'json' }] })
  }
  if (code === 'FST_ERR_BAD_URL') {
    return brokenRequest('BAD_REQUEST', 'path', 'encoding', 'The path is not properly percent-encoded.')
  }
  return typeof statusCode === 'number' && statusCode < 500
    ? brokenRequest('BAD_REQUEST', 'request', 'http')
    : undefined
}

/**
 * Fastify closes the connection after a body it could not use. With bytes of it still on their way that resets the
 * connection, and the client sees no answer; so the rest is read and dropped, within the request's time-out, unless it
 * is announced to be very large.
 */
function keepConnection(request: FastifyRequest, reply: FastifyReply): void {
  const announced = Number(request.headers['content-length'] ?? 0)
  if (announced <= LIMITS.bodyDrainBytesMax && reply.hasHeader('connection')) reply.removeHeader('connection')
}
