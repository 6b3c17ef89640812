/**
 * The bound on requests in flight: what goes beyond it is answered 503 OVERLOADED with Retry-After before the framework, a
 * hook or the body is touched, so that turning away costs a small part of serving and an overload cannot grow.
 *
 * A count, not the delay of the event loop: the work of a request is bounded, so the count bounds memory and the wait for
 * an answer alike, and means the same on every machine. Rejected: a smaller count of those that began lately. Answers on a
 * connection go out in order, so a pipelined refusal waits for what came before it; with fewer admitted, those that
 * ask again at once are refused faster, and refusing them takes the time of serving (measured: a third of the logins).
 *
 * Rejected: an answer made once and sent as bytes. A refusal takes 13 us of the thread in a pipeline and 20 alone; an empty answer
 * of Node's takes 11 and 17, so its parser and its objects are nearly all of it.
 *
 * A refused request leaves no event: nothing was decided. Owns no state; the count is
 * that of the metrics.
 *
 * `/health` is always let through, as a supervisor restarts what does not answer it: in an overload that would take away what still
 * answers. It is done within its own turn of the event loop, so it holds nothing and waits for nothing.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { acceptRequestId } from '../context/context.ts'
import { ERRORS } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { HttpMetrics } from './metrics.ts'
import { PROBLEM_TYPE, problem } from './problem.ts'

const LIVENESS = '/health'
const RETRY_AFTER_SECONDS = 1
const { status: STATUS } = ERRORS.OVERLOADED

/** What every answer carries, whoever gives it. */
export function commonHeaders(isTls: boolean): Record<string, string> {
  return {
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(isTls ? { 'strict-transport-security': 'max-age=31536000' } : {}),
  }
}

export function createAdmission(options: {
  metrics: HttpMetrics
  isTls: boolean
}): (serve: RequestListener) => RequestListener {
  const common = {
    ...commonHeaders(options.isTls),
    'content-type': PROBLEM_TYPE,
    'retry-after': String(RETRY_AFTER_SECONDS),
  }
  const { metrics } = options

  function refuse(request: IncomingMessage, response: ServerResponse): void {
    const requestId = acceptRequestId(request.headers['x-request-id'])
    const body = JSON.stringify(problem('OVERLOADED', requestId))
    holdWrites(request.socket)
    request.resume() // of its body nothing is kept while its answer waits behind those of earlier requests
    response.writeHead(STATUS, { ...common, 'content-length': Buffer.byteLength(body), 'x-request-id': requestId })
    response.end(body)
    metrics.requestRefused(request.method, STATUS)
  }

  return serve => (request, response) => {
    const isLetThrough = metrics.requestsInFlight < LIMITS.requestsInFlightMax || request.url === LIVENESS
    if (isLetThrough) serve(request, response)
    else refuse(request, response)
  }
}

/** Pipelined refusals leave in one packet, with one call of the system. */
function holdWrites(socket: Socket): void {
  if (socket.writableCorked > 0) return
  socket.cork()
  queueMicrotask(() => socket.uncork())
}
