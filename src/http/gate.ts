/**
 * The first hook of every request that was admitted (admission.ts): opens its context, counts it, sets the headers that
 * every answer carries, and turns away at once what cannot be served (no such address, no such method), before anything of
 * a body is read.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest, HookHandlerDoneFunction } from 'fastify'
import type { AddressResolver } from '../context/client-address.ts'
import { type RequestContext, runInContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { commonHeaders } from './admission.ts'
import { openContext, pathOf } from './context.ts'
import type { HttpMetrics } from './metrics.ts'
import type { RouteTable } from './route-table.ts'

export interface GateDeps {
  readonly resolveAddress: AddressResolver
  readonly metrics: HttpMetrics
  readonly routes: RouteTable
  /** Told of every exchange that begins on a connection. */
  readonly began: (reply: FastifyReply) => void
  readonly isTls: boolean
}

export interface Gate {
  /** Opens the context and does the counting, for what is answered before any hook. */
  enter(request: FastifyRequest, reply: FastifyReply): RequestContext
  onRequest(request: FastifyRequest, reply: FastifyReply, done: HookHandlerDoneFunction): void
}

export function createGate(deps: GateDeps): Gate {
  const { metrics } = deps
  const headers = commonHeaders(deps.isTls)

  function enter(request: FastifyRequest, reply: FastifyReply): RequestContext {
    const started = performance.now()
    const context = openContext(request, reply, deps.resolveAddress)
    reply.headers(headers)
    metrics.requestStarted()
    // Not Fastify's onResponse: that never comes for a client that went away.
    reply.raw.once('close', () => {
      const seconds = (performance.now() - started) / 1000
      metrics.requestEnded(request.method, request.routeOptions.url, reply.raw.statusCode, seconds)
    })
    deps.began(reply)
    return context
  }

  function turnAway(request: FastifyRequest, reply: FastifyReply): Refusal | undefined {
    const { raw } = request
    if ((raw.url as string).length > LIMITS.urlBytesMax) return brokenRequest('URI_TOO_LONG', 'path', 'size')
    const broken = brokenFraming(raw)
    if (broken !== undefined) return broken
    return request.is404 ? unknownAddress(raw.url as string, reply) : undefined
  }

  function unknownAddress(url: string, reply: FastifyReply): Refusal {
    const methods = deps.routes.methods(pathOf(url))
    if (methods === undefined) return new Refusal('NOT_FOUND')
    reply.header('allow', methods.join(', '))
    return new Refusal('METHOD_NOT_ALLOWED')
  }

  return {
    enter,
    onRequest(request, reply, done) {
      runInContext(enter(request, reply), () => done(turnAway(request, reply)))
    },
  }
}

/** A host and port; of several Host headers Node makes one text with a comma in it. */
const HOST = /^[\w.~%!$&'()*+;=:[\]-]*$/

/** What Node lets pass and another party on the way may read in another way. */
function brokenFraming({ headers, httpVersion }: IncomingMessage): Refusal | undefined {
  const { host, 'transfer-encoding': coding } = headers
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return brokenRequest('BAD_REQUEST', 'request', 'version')
  // RFC 9112, 3.2. Left to us, as Node's own refusal is not a problem document.
  if (host === undefined && httpVersion === '1.1') {
    return brokenRequest('BAD_REQUEST', 'host', 'required', 'The Host header is missing.')
  }
  if (host !== undefined && !HOST.test(host)) {
    return brokenRequest(
      'BAD_REQUEST',
      'host',
      'host',
      'There is more than one Host header, or what it names is no host.',
    )
  }
  // The body would be taken as it is, and whoever decodes it sees another one.
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    return brokenRequest(
      'BAD_REQUEST',
      'transfer-encoding',
      'chunked',
      'Of the transfer codings only chunked is known.',
    )
  }
  return undefined
}

export function brokenRequest(
  code: 'BAD_REQUEST' | 'URI_TOO_LONG',
  field: string,
  rule: string,
  detail?: string,
): Refusal {
  return new Refusal(code, detail, { violations: [{ field, rule }] })
}
