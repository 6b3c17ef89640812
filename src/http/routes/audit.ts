/** Questions to the audit trail that are answered in one piece. */
import { Refusal } from '../../errors.ts'
import { LIMITS } from '../../limits.ts'
import type { EventFilter, Order } from '../../query/event-queries.ts'
import { createAccessRecorder } from '../access.ts'
import { addressFilter, eventFilter, filterFields, orderField } from '../audit-filter.ts'
import { formatCursor, parseCursor } from '../cursor.ts'
import type { App, HttpDeps } from '../deps.ts'
import { EVENT_EXAMPLE, Event, EventItem } from '../event-schema.ts'
import { cpId, cursorText, nextCursor } from '../fields.ts'
import type { Guards } from '../guards.ts'
import { closed, object, type ValueOf } from '../schema.ts'
import { invalid } from '../validation.ts'
import { Summary, SummaryQuery, summaryRequest } from './audit-reports.ts'

const id = (description: string) =>
  ({ type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description }) as const

const EventsQuery = closed(
  {},
  {
    ...filterFields,
    limit: { type: 'integer', minimum: 1, maximum: LIMITS.pageEventsMax, description: 'Default 100.' },
    cursor: cursorText,
    before_id: id('Begin below this id, going down. Not with `cursor`.'),
    after_id: id('Begin above this id, going up: `order` is asc. Not with `cursor`.'),
    order: orderField('By id. Default desc: newest first.'),
  },
)

const Events = object(
  { events: { type: 'array', items: EventItem }, next_cursor: nextCursor },
  {
    title: 'EventPage',
    description: 'A page. It may be short before the end when time ran out; only `next_cursor: null` is the end.',
    examples: [{ events: [EVENT_EXAMPLE], next_cursor: 'p5c1bHb8ZDEwNDE' }],
  },
)

const FailuresQuery = closed(
  {},
  {
    ip: filterFields.ip,
    cp_id: cpId,
    minutes: {
      type: 'integer',
      minimum: 1,
      maximum: LIMITS.failureMinutesMax,
      description: 'How far back. Default 10.',
    },
  },
)

const Failures = object(
  {
    events: { type: 'array', items: EventItem },
    count: { type: 'integer', description: 'Of the events listed here. `/audit/summary` counts all there are.' },
  },
  {
    title: 'Failures',
    description: `AUTH_FAIL events, newest first, at most ${LIMITS.failureEventsMax}.`,
    examples: [{ events: [EVENT_EXAMPLE], count: 1 }],
  },
)

const EventParams = closed({ id: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER } })

export function auditRoutes(app: App, deps: HttpDeps, guards: Guards): void {
  const { queries } = deps
  const access = createAccessRecorder(deps.audit)
  const onRequest = guards.operator('admin', 'operator', 'auditor')
  const common = { tags: ['Audit'], security: [{ adminKey: [] }] }
  const config = { errors: ['STORE_UNAVAILABLE', 'QUERY_TIMEOUT'] } as const

  app.get(
    '/audit/events',
    {
      onRequest,
      config,
      schema: {
        ...common,
        operationId: 'listEvents',
        summary: 'Search events',
        description: 'A walk by cursor sees every row once, also while rows arrive.',
        querystring: EventsQuery,
        response: { 200: Events },
      },
    },
    async request => {
      const { limit = LIMITS.pageEventsDefault } = request.query
      const filter = eventFilter(request.query)
      const { order, after } = position(request.query, filter)
      const read = { filter, limit, order, ...(after === undefined ? {} : { after }) }
      const page = await access.read(request, 'events', { ...filter, order, limit }, () => queries.page(read))
      return { events: page.events, next_cursor: page.next === null ? null : cursorAt(order, page.next, filter) }
    },
  )

  app.get(
    '/audit/events/:id',
    {
      onRequest,
      config: { errors: ['EVENT_NOT_FOUND', ...config.errors] },
      schema: {
        ...common,
        operationId: 'getEvent',
        summary: 'One event',
        params: EventParams,
        response: { 200: Event },
      },
    },
    request => {
      const { id } = request.params
      return access.read(request, `event ${id}`, { id }, async () => {
        const event = await queries.event(id)
        if (event === undefined) throw new Refusal('EVENT_NOT_FOUND')
        return event
      })
    },
  )

  app.get(
    '/audit/failures',
    {
      onRequest,
      config,
      schema: {
        ...common,
        operationId: 'recentFailures',
        summary: 'Recent failed logins',
        querystring: FailuresQuery,
        response: { 200: Failures },
      },
    },
    async request => {
      const { ip, cp_id, minutes = 10 } = request.query
      const filter = {
        ...(ip === undefined ? {} : { ip: addressFilter(ip) }),
        ...(cp_id === undefined ? {} : { who: cp_id }),
      }
      const since = new Date(Date.now() - minutes * 60_000).toISOString()
      const events = await access.read(request, 'recent failures', { ...filter, minutes }, () =>
        queries.failures({ ...filter, since, limit: LIMITS.failureEventsMax }),
      )
      return { events, count: events.length }
    },
  )

  app.get(
    '/audit/summary',
    {
      onRequest,
      config,
      schema: {
        ...common,
        operationId: 'summarize',
        summary: 'Totals, tops and a time series',
        querystring: SummaryQuery,
        response: { 200: Summary },
      },
    },
    request => {
      const summary = summaryRequest(request.query, Date.now())
      const { start_time, end_time, bucketSeconds: bucket_seconds } = summary
      const metadata = { start_time, end_time, bucket_seconds }
      return access.read(request, 'summary', metadata, () => queries.summary(summary))
    },
  )
}

const ORDER_LETTER = { asc: 'a', desc: 'd' } as const

function cursorAt(order: Order, after: number, filter: EventFilter): string {
  return formatCursor(`${ORDER_LETTER[order]}${after}`, JSON.stringify(filter))
}

type Place = Pick<ValueOf<typeof EventsQuery>, 'cursor' | 'before_id' | 'after_id' | 'order'>

/** Where a page begins. A cursor and an id bring their order along; another one asked for next to it is refused. */
function position({ cursor, before_id, after_id, order }: Place, filter: EventFilter) {
  const given = Object.entries({ cursor, before_id, after_id }).filter(([, value]) => value !== undefined)
  const field = given[1]?.[0]
  if (field !== undefined) throw invalid([{ field, rule: 'one_beginning' }])
  if (before_id !== undefined) return { order: agreed('desc', order, 'before_id'), after: before_id }
  if (after_id !== undefined) return { order: agreed('asc', order, 'after_id'), after: after_id }
  if (cursor === undefined) return { order: order ?? 'desc', after: undefined } as const
  const place = parseCursor(cursor, JSON.stringify(filter))
  const own: Order = place.startsWith('a') ? 'asc' : 'desc'
  return { order: agreed(own, order, 'cursor'), after: Number(place.slice(1)) }
}

function agreed(own: Order, asked: Order | undefined, field: string): Order {
  if (asked !== undefined && asked !== own) throw invalid([{ field, rule: 'order' }])
  return own
}
