/**
 * What Node's HTTP parser gives up on: bytes that are not HTTP, headers without end, requests that never arrive whole.
 *
 * There is no request to answer through, so the answer is written to the socket by hand: the same problem document,
 * after its event is on record, then the connection is closed. A connection on which nothing ever arrived is closed
 * without a word, so idle sockets cannot fill the trail.
 */
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyReply } from 'fastify'
import type { Audit } from '../audit/audit.ts'
import type { AddressResolver } from '../context/client-address.ts'
import { createContext, type RequestContext } from '../context/context.ts'
import { ERRORS, type ErrorCode } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { HttpMetrics } from './metrics.ts'
import { PROBLEM_TYPE, problem } from './problem.ts'

/** How long a client may take to read the answer before the connection is cut. */
const LINGER_MS = 1_000

interface ParserError extends Error {
  readonly code?: string
  /** What was being parsed. Only measured, never shown. */
  readonly rawPacket?: unknown
}

export interface ClientErrors {
  /** Notes the latest exchange of a connection. */
  began(reply: FastifyReply): void
  handle(error: ParserError, socket: Duplex): void
}

export function createClientErrors(deps: {
  audit: Audit
  resolveAddress: AddressResolver
  metrics: HttpMetrics
}): ClientErrors {
  const exchanges = new WeakMap<Duplex, FastifyReply>()
  const handled = new WeakSet<Duplex>()

  function refuse(socket: Socket, code: ErrorCode, context: RequestContext): void {
    deps.metrics.clientError(code)
    deps.audit.validationError(
      undefined,
      context,
      [{ field: 'request', rule: code.toLowerCase() }],
      ERRORS[code].status,
    )
    deps.audit.settled(context).then(() => {
      if (socket.writable) socket.end(rawAnswer(code, context.requestId))
      setTimeout(() => socket.destroy(), LINGER_MS).unref()
    })
  }

  return {
    began(reply) {
      exchanges.set(reply.request.raw.socket, reply)
    },
    handle(error, duplex) {
      const socket = duplex as Socket
      if (handled.has(socket)) return
      handled.add(socket)
      const last = exchanges.get(socket)
      const isWithinRequest = last !== undefined && !last.request.raw.complete
      const isAnswered = last?.raw.headersSent === true
      if (
        error.code === 'ECONNRESET' ||
        !socket.writable ||
        socket.bytesRead === 0 ||
        (isWithinRequest && isAnswered)
      ) {
        socket.destroy()
        return
      }
      const code = errorCode(error, socket)
      const ip = deps.resolveAddress(socket.remoteAddress, undefined)
      if (isWithinRequest) refuse(socket, code, last.request.auditContext)
      else if (last === undefined || last.raw.writableFinished) refuse(socket, code, createContext({ ip }))
      // Garbage after a good request: that one gets its answer first.
      else last.raw.once('close', () => refuse(socket, code, createContext({ ip })))
    },
  }
}

function errorCode(error: ParserError, socket: Socket): ErrorCode {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 'REQUEST_TIMEOUT'
    case 'HPE_HEADER_OVERFLOW':
      return isLongTarget(error.rawPacket, socket) ? 'URI_TOO_LONG' : 'HEADERS_TOO_LARGE'
    default:
      return 'BAD_REQUEST'
  }
}

/** Node counts the request line among the headers; when all that came so far is at hand, we can tell which is to blame. */
function isLongTarget(packet: unknown, socket: Socket): boolean {
  if (!Buffer.isBuffer(packet) || packet.length !== socket.bytesRead) return false
  const end = packet.indexOf('\r\n')
  return end === -1 || end > LIMITS.urlBytesMax
}

function rawAnswer(code: ErrorCode, requestId: string): string {
  const body = JSON.stringify(problem(code, requestId))
  const { status } = ERRORS[code]
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-ID: ${requestId}`,
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
    'Connection: close',
    '',
    body,
  ].join('\r\n')
}
