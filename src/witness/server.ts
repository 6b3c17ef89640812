/**
 * The witness over HTTP: `add-checkpoint` of C2SP tlog-witness to the letter, and beside it what is ours, the way to show it a
 * hand-over of a log's key. Nothing here needs a key of whoever asks: what counts is signed by the log.
 */
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import { decodeText } from '../evidence/encoding.ts'
import { formatVerifierKey } from '../evidence/note.ts'
import { formatSize, SIZE_MEDIA_TYPE, WITNESS_STATUS } from '../evidence/witness-message.ts'
import { LIMITS } from '../limits.ts'
import type { Witness, WitnessReply } from './witness.ts'

export interface WitnessServer extends AsyncDisposable {
  readonly url: string
}

/** @throws an error of the system when it cannot listen there */
export async function serveWitness(witness: Witness, host: string, port: number): Promise<WitnessServer> {
  const app = createApp(witness)
  await app.listen({ host, port })
  const { address, family, port: actual } = app.server.address() as AddressInfo
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${actual}`,
    [Symbol.asyncDispose]: () => app.close(),
  }
}

const STATUS = { ...WITNESS_STATUS, accepted: 200, unavailable: 503 } as const

const DETAIL: Record<Exclude<WitnessReply['outcome'], 'cosigned'>, string> = {
  malformed: 'this is no such request, or its old size is larger than that of the checkpoint\n',
  'unknown-log': 'this log is not followed here\n',
  'unknown-keys': 'it is not signed by the key of the log that is known here\n',
  conflict: 'the checkpoint that was cosigned has the same size and another root\n',
  'wrong-proof': 'it is not proven that the log continues what was cosigned\n',
  accepted: 'the key is known\n',
  unavailable: 'it could not be kept, or the clock is behind; try again\n',
}

function createApp(witness: Witness): FastifyInstance {
  const app = Fastify({
    bodyLimit: LIMITS.bodyBytesMax,
    requestTimeout: LIMITS.requestTimeoutMs,
    keepAliveTimeout: LIMITS.keepAliveTimeoutMs,
    forceCloseConnections: true, // what was answered is on disk, and whoever was not answered asks again
    // Fastify's own answer to an address that cannot be decoded repeats it.
    frameworkErrors: (error, _request, reply) => refuse(reply, error.statusCode),
    http: { headersTimeout: LIMITS.headersTimeoutMs, maxHeaderSize: LIMITS.headerBytesMax },
  })
  app.server.maxConnections = LIMITS.witnessConnectionsMax
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, decodeText(body as Buffer)))

  app.post('/add-checkpoint', (request, reply) => answer(reply, witness.addCheckpoint(textOf(request.body))))
  app.post('/add-hand-over', (request, reply) => answer(reply, witness.addHandOver(textOf(request.body))))
  app.get('/', (_request, reply) => text(reply, describe(witness)))
  app.get<{ Params: { log: string } }>('/:log/checkpoint', ({ params }, reply) => {
    const last = witness.logs().find(({ id }) => id === params.log)?.last
    return last === undefined
      ? text(reply.code(404), 'no checkpoint of such a log was cosigned\n')
      : text(reply, last.note)
  })
  app.setNotFoundHandler((_request, reply) => text(reply.code(404), 'there is nothing here\n'))
  app.setErrorHandler((error: { statusCode?: number }, _request, reply) => refuse(reply, error.statusCode))
  return app
}

/** Never repeats what was sent. */
function refuse(reply: FastifyReply, statusCode = 500): FastifyReply {
  return text(reply.code(statusCode), statusCode === 413 ? 'the request is too large\n' : 'this cannot be answered\n')
}

/** A body that is not there, or not UTF-8, is no request to the letter either. */
const textOf = (body: unknown) => (typeof body === 'string' ? body : '')

function answer(reply: FastifyReply, result: WitnessReply): FastifyReply {
  reply.code(STATUS[result.outcome])
  if (result.outcome === 'cosigned') return text(reply, result.line)
  if (result.outcome === 'conflict' && result.size !== undefined) {
    return reply.type(SIZE_MEDIA_TYPE).send(formatSize(result.size))
  }
  return text(reply, DETAIL[result.outcome])
}

function text(reply: FastifyReply, body: string): FastifyReply {
  return reply.type('text/plain; charset=utf-8').header('x-content-type-options', 'nosniff').send(body)
}

function describe(witness: Witness): string {
  const logs = witness
    .logs()
    .map(({ origin, id, last }) => `log ${origin}\n  size ${last?.size ?? 0}\n  /${id}/checkpoint\n`)
  return `A witness of transparency logs (c2sp.org/tlog-witness), by EV Central.\n\nkey ${formatVerifierKey(witness.key)}\n\n${logs.join('')}`
}
