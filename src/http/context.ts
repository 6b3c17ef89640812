/**
 * From an HTTP request to a request context: id, client address, path and method.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { AddressResolver } from '../context/client-address.ts'
import { acceptRequestId, createContext, type RequestContext } from '../context/context.ts'
import { LIMITS } from '../limits.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Given by the gate before anything else runs. */
    auditContext: RequestContext
  }
}

/** The context of a request; it is remembered on the request, and the answer will carry `X-Request-ID`. */
export function openContext(
  request: FastifyRequest,
  reply: FastifyReply,
  resolveAddress: AddressResolver,
): RequestContext {
  const context = contextOf(request.raw, request.raw.url ?? '/', resolveAddress)
  request.auditContext = context
  reply.header('x-request-id', context.requestId)
  return context
}

/** @param url as the client sent it: a framework may have cut that of the request */
export function contextOf(request: IncomingMessage, url: string, resolveAddress: AddressResolver): RequestContext {
  const { headers, socket, method } = request
  return createContext({
    requestId: acceptRequestId(headers['x-request-id']),
    ip: resolveAddress(socket.remoteAddress, joined(headers['x-forwarded-for'])),
    endpoint: pathOf(url),
    httpMethod: method ?? null,
  })
}

/** Node joins a repeated X-Forwarded-For itself; its types do not say so. */
function joined(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(',') : header
}

/** The path of a request target, without query; also of the absolute form that proxies send. */
export function pathOf(target: string): string {
  const end = target.indexOf('?')
  const path = (end === -1 ? target : target.slice(0, end)).slice(0, LIMITS.urlBytesMax)
  return path.startsWith('/') ? path : path.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, '') || '/'
}
