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
 * An answer counts until it was taken, as it is held in memory until then. So a stranger who asks and never reads would hold places
 * for nothing, a thousand of them over one pipelined connection, and so would one who sends a body without end. When all are taken,
 * those connections are cut that wait for nothing but their client, now as when that was looked at before, a while ago: for the rest
 * of a body, or for whoever reads an answer that is whole. What was pipelined behind it goes with it.
 *
 * A refused request leaves no event: nothing was decided. Owns the list of answers under way; the count is that of the metrics.
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
  const underWay = createList<ServerResponse>()
  let idle: ReadonlySet<ServerResponse> = new Set()
  let lookedAt = 0

  /** Cuts the connections that wait for nothing but their client, now as at the look before. */
  function makeRoom(): void {
    const now = performance.now()
    if (now - lookedAt < LIMITS.clientIdleMsMax) return
    lookedAt = now
    const waiting = new Set(underWay.items().filter(isWaitingForClient))
    for (const response of waiting) if (idle.has(response)) response.socket?.destroy()
    idle = waiting
  }

  function watch(response: ServerResponse): void {
    response.once('close', underWay.add(response))
    response.on('timeout', cutStalled)
  }

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
    const isFull = metrics.requestsInFlight >= LIMITS.requestsInFlightMax
    if (isFull) makeRoom()
    if (isFull && request.url !== LIVENESS) return refuse(request, response)
    watch(response)
    serve(request, response)
  }
}

/**
 * What is under way, in no order. Not a Set: that is built anew every few additions, and V8 has each old table point at the one after
 * it. Once a collection has kept one of them, none that follows is found to be garbage until the next full collection, nor is
 * anything that was in them: measured, every answer of a loaded server, and scavenges of 6 ms instead of 2.
 */
function createList<T>() {
  const entries: { readonly item: T; place: number }[] = []
  return {
    items: () => entries.map(({ item }) => item),
    /** @returns removes it; to be called once */
    add(item: T): () => void {
      const entry = { item, place: entries.length }
      entries.push(entry)
      return () => {
        const last = entries.pop()
        if (last === undefined || last === entry) return
        entries[entry.place] = last
        last.place = entry.place
      }
    },
  }
}

/** One that waits behind another of its connection has no socket yet. */
function isWaitingForClient({ req, socket, writableEnded, writableFinished }: ServerResponse): boolean {
  return socket !== null && (writableEnded ? !writableFinished : !req.complete)
}

/** Nothing moved on the connection for `stalledMsMax`. While nothing waits to be sent, it is us that the client waits for. */
function cutStalled(socket: Socket): void {
  if (socket.writableLength > 0) socket.destroy()
}

/** Pipelined refusals leave in one packet, with one call of the system. */
function holdWrites(socket: Socket): void {
  if (socket.writableCorked > 0) return
  socket.cork()
  queueMicrotask(() => socket.uncork())
}
