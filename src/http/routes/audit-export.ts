/** The trail as a file: streamed piece by piece, at the pace of the client. */
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import { loggableError } from '../../audit/redaction.ts'
import { Refusal } from '../../errors.ts'
import { LIMITS } from '../../limits.ts'
import type { EventFilter, ExportChunk, ExportFormat, Order } from '../../query/event-queries.ts'
import { formatEvents } from '../../query/export-format.ts'
import { createAccessRecorder } from '../access.ts'
import { eventFilter, filterFields, orderField } from '../audit-filter.ts'
import type { App, HttpDeps } from '../deps.ts'
import { EVENT_EXAMPLE } from '../event-schema.ts'
import { actorOf, type Guards } from '../guards.ts'
import { createPlaces } from '../places.ts'
import { closed } from '../schema.ts'

const ExportQuery = closed(
  {},
  {
    ...filterFields,
    format: { type: 'string', enum: ['ndjson', 'csv'], description: 'Default ndjson.' },
    order: orderField('By id. Default asc: oldest first.'),
  },
)

const CONTENT_TYPE = { ndjson: 'application/x-ndjson; charset=utf-8', csv: 'text/csv; charset=utf-8' } as const

const Export = {
  description:
    'The matching events that existed when the export began. A connection that breaks means it is incomplete.',
  content: {
    'application/x-ndjson': {
      schema: { type: 'string', description: 'An event per line, as JSON with its 14 columns.' },
      example: formatEvents([EVENT_EXAMPLE], 'ndjson', true),
    },
    'text/csv': {
      schema: {
        type: 'string',
        description:
          'RFC 4180, the 14 columns, with a header line. Before a cell that begins with = + - @, a tab or a carriage return stands an apostrophe, or a spreadsheet would run it.',
      },
      example: formatEvents([EVENT_EXAMPLE], 'csv', true),
    },
  },
} as const

export function auditExportRoute(app: App, deps: HttpDeps, guards: Guards): void {
  const { queries } = deps
  const access = createAccessRecorder(deps.audit)
  const places = createPlaces(LIMITS.exportsMax)

  app.get(
    '/audit/export',
    {
      onRequest: guards.operator('admin', 'operator', 'auditor'),
      exposeHeadRoute: false,
      config: { errors: ['STORE_UNAVAILABLE', 'QUERY_TIMEOUT'] },
      schema: {
        operationId: 'exportEvents',
        tags: ['Audit'],
        summary: 'Export events',
        description: 'Breaks off when the key is revoked, or the session ends.',
        security: [{ adminKey: [] }],
        querystring: ExportQuery,
        response: { 200: Export },
      },
    },
    async (request, reply) => {
      const filter = eventFilter(request.query)
      const { format = 'ndjson', order = 'asc' } = request.query
      const isAllowed = guards.stillAllowed(request)
      // The first piece is fetched before the answer begins, so that a store that cannot be read is a proper 503.
      const { chunk, through } = await access.exported(request, format, { ...filter, format, order }, async () => {
        places.take(reply)
        const through = await queries.lastId()
        return { through, chunk: await queries.exportChunk(piece(filter, format, order, undefined, through)) }
      })
      const rest = async (after: number) => {
        if (!(await isAllowed())) throw new Refusal('UNAUTHORIZED')
        return queries.exportChunk(piece(filter, format, order, after, through))
      }
      const text = watched(request, remaining(chunk, rest, order === 'asc' ? through : 0))
      const name = `audit-events-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}Z.${format}`
      return reply
        .type(CONTENT_TYPE[format])
        .header('content-disposition', `attachment; filename="${name}"`)
        .send(Readable.from(text, { objectMode: false }) as never)
    },
  )

  /** An answer that has begun cannot become a 500; it breaks off, and the trail and the log say why. */
  async function* watched(request: FastifyRequest, text: AsyncIterable<string>) {
    try {
      yield* text
    } catch (error) {
      const isForeseen = error instanceof Refusal && error.code === 'UNAUTHORIZED'
      if (!isForeseen) deps.audit.error(actorOf(request).name, request.auditContext, error)
      deps.logger[isForeseen ? 'warn' : 'error'](
        { err: loggableError(error), request_id: request.auditContext.requestId },
        'an export broke off',
      )
      throw error
    }
  }
}

/**
 * Ids are gapless, so no more rows than ids are left up to `through`: without a filter the last piece ends exactly
 * there. Downwards the first piece begins at the newest row, and newer ones are never met.
 */
function piece(filter: EventFilter, format: ExportFormat, order: Order, after: number | undefined, through: number) {
  const left = order === 'asc' ? Math.max(1, through - (after ?? 0)) : LIMITS.exportPieceEvents
  const limit = Math.min(LIMITS.exportPieceEvents, left)
  return { filter, format, order, limit, ...(after === undefined ? {} : { after }) }
}

/** Rests after each piece for as long as the piece took, so that an export leaves half of what it could use to others. */
async function* remaining(first: ExportChunk, next: (after: number) => Promise<ExportChunk>, through: number) {
  let chunk = first
  let started = performance.now()
  for (;;) {
    if (chunk.text !== '') yield chunk.text
    if (chunk.next === null || (through > 0 && chunk.next >= through)) return
    await sleep(performance.now() - started)
    started = performance.now()
    chunk = await next(chunk.next)
  }
}
