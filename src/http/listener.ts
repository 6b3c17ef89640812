/** Node's HTTP(S) server with every limit set; several of Node's and all of Fastify's defaults are "none". */
import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { LIMITS } from '../limits.ts'
import type { HttpDeps } from './deps.ts'

const OPTIONS: ServerOptions = {
  requestTimeout: LIMITS.requestTimeoutMs,
  headersTimeout: LIMITS.headersTimeoutMs,
  keepAliveTimeout: LIMITS.keepAliveTimeoutMs,
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: LIMITS.headerBytesMax,
  noDelay: true,
  insecureHTTPParser: false,
  requireHostHeader: false, // the gate does, with a proper answer
  joinDuplicateHeaders: true, // of two keys, tokens or hosts neither counts, where Node would take the first and a proxy maybe the last
}

export function createListener(handler: RequestListener, tls: HttpDeps['tls']): Server {
  const server =
    tls === undefined
      ? createServer(OPTIONS, handler)
      : createTlsServer({ ...OPTIONS, cert: tls.cert, key: tls.key, minVersion: 'TLSv1.2' }, handler)
  server.maxConnections = LIMITS.connectionsMax
  server.timeout = LIMITS.stalledMsMax // for answers; what it means to one is said in admission.ts
  // An expectation we do not know is ignored (RFC 9110, 10.1.1) rather than refused by Node without our headers.
  server.on('checkExpectation', handler)
  return server
}
