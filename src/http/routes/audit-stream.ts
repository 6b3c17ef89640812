/** The trail as server-sent events. */
import type { FastifyReply } from 'fastify'
import { createAccessRecorder } from '../access.ts'
import { eventFilter, filterFields } from '../audit-filter.ts'
import type { App, HttpDeps } from '../deps.ts'
import { EVENT_EXAMPLE } from '../event-schema.ts'
import type { EventStreams } from '../event-stream.ts'
import type { FollowerStream } from '../followers.ts'
import type { Guards } from '../guards.ts'
import { closed } from '../schema.ts'
import { invalid } from '../validation.ts'

const EVENT_ID = /^(?:0|[1-9]\d{0,15})$/

const StreamQuery = closed(
  {},
  {
    ...filterFields,
    last_event_id: {
      type: 'integer',
      minimum: 0,
      maximum: Number.MAX_SAFE_INTEGER,
      description: 'Go on after this event, where the header cannot be sent. The header wins.',
    },
  },
)

const Stream = {
  description:
    'One message per event: `id:` is the event id, `data:` the event as JSON with its 14 columns; no `event:` field, so it is the default message. An `id:` without data, where no `Last-Event-ID` was sent, says after which event it begins; after 15 s without a message a comment follows or, where events came that do not match, a message of the type `position`, up to which id the trail has been looked at.',
  content: {
    'text/event-stream': {
      schema: { type: 'string' },
      example: `id: ${EVENT_EXAMPLE.id}\ndata: ${JSON.stringify(EVENT_EXAMPLE)}\n\n`,
    },
  },
} as const

export function auditStreamRoute(app: App, deps: HttpDeps, guards: Guards, streams: EventStreams): void {
  const access = createAccessRecorder(deps.audit)

  app.get(
    '/audit/stream',
    {
      onRequest: guards.operator('admin', 'operator', 'auditor'),
      exposeHeadRoute: false,
      config: { errors: ['STORE_UNAVAILABLE'] },
      schema: {
        operationId: 'streamEvents',
        tags: ['Audit'],
        summary: 'Follow events as they come',
        description:
          'Begins after the newest event of now, or after the one named by `Last-Event-ID`, without gap or repeat. Ends when the key is revoked.',
        security: [{ adminKey: [] }],
        querystring: StreamQuery,
        response: { 200: Stream },
      },
    },
    async (request, reply) => {
      const filter = eventFilter(request.query)
      const after = lastEventId(request.headers['last-event-id']) ?? request.query.last_event_id
      const isAllowed = guards.stillAllowed(request)
      const metadata = { ...filter, after: after ?? null }
      const stream = await access.read(request, 'stream', metadata, () => streams.open({ isAllowed, filter, after }))
      return sendStream(reply, stream)
    },
  )
}

export function sendStream(reply: FastifyReply, stream: FollowerStream): FastifyReply {
  if (reply.raw.destroyed) stream.close()
  else reply.raw.once('close', stream.close)
  return reply.type('text/event-stream').header('x-accel-buffering', 'no').send(stream.body)
}

/** @throws {Refusal} VALIDATION_FAILED */
function lastEventId(header: string | string[] | undefined): number | undefined {
  if (header === undefined || header === '') return undefined
  if (typeof header !== 'string' || !EVENT_ID.test(header)) {
    throw invalid([{ field: 'Last-Event-ID', rule: 'pattern' }])
  }
  return Number(header)
}
