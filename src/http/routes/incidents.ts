/** Incidents: listed as episodes, with what people did about them; and doing something about one. */
import { Refusal } from '../../errors.ts'
import { LIMITS } from '../../limits.ts'
import type { IncidentStep } from '../../security/security.ts'
import { createAccessRecorder } from '../access.ts'
import { timeFields, timeFilter } from '../audit-filter.ts'
import type { App, HttpDeps } from '../deps.ts'
import { SAFE_TEXT } from '../fields.ts'
import { actorOf, type Guards } from '../guards.ts'
import type { IncidentBook } from '../incident-book.ts'
import { closed, object } from '../schema.ts'
import { Incidents } from './audit-reports.ts'

const IncidentsQuery = closed(
  {},
  { ...timeFields, limit: { type: 'integer', minimum: 1, maximum: LIMITS.episodesMax, description: 'Default 100.' } },
)

const note = {
  type: 'string',
  minLength: 1,
  maxLength: LIMITS.incidentNoteCharactersMax,
  pattern: SAFE_TEXT,
  description: 'For the audit trail; it stays there.',
} as const
const example = { examples: [{ note: 'The site was called: a technician with an old card.' }] }
const OptionalNote = closed({}, { note }, { title: 'OptionalNote', ...example })
const RequiredNote = closed({ note }, {}, { title: 'RequiredNote', ...example })

const IncidentParams = closed({
  id: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'Of any INCIDENT event of it.' },
})

const Handled = object(
  { success: { type: 'boolean', const: true }, incident: { type: 'integer' }, message: { type: 'string' } },
  {
    title: 'HandledIncident',
    description: 'On record.',
    examples: [{ success: true, incident: 1046, message: 'Incident 1046 resolved' }],
  },
)

const STEPS = [
  { path: 'acknowledge', step: 'ACKNOWLEDGED', id: 'acknowledgeIncident', summary: 'Say that somebody looks at it' },
  { path: 'notes', step: 'NOTED', id: 'noteIncident', summary: 'Add a note' },
  { path: 'resolve', step: 'RESOLVED', id: 'resolveIncident', summary: 'Say that it is settled' },
] as const

export function incidentRoutes(app: App, deps: HttpDeps, guards: Guards, book: IncidentBook): void {
  const { queries, settings, security } = deps
  const access = createAccessRecorder(deps.audit)
  const tags = ['Audit']
  const adminKey = { security: [{ adminKey: [] }] }
  const errors = ['STORE_UNAVAILABLE', 'QUERY_TIMEOUT'] as const

  app.get(
    '/audit/incidents',
    {
      onRequest: guards.operator('admin', 'operator', 'auditor'),
      config: { errors },
      schema: {
        tags,
        ...adminKey,
        operationId: 'listIncidents',
        summary: 'Incidents as episodes',
        querystring: IncidentsQuery,
        response: { 200: Incidents },
      },
    },
    async request => {
      const { limit = LIMITS.pageEventsDefault } = request.query
      const range = timeFilter(request.query)
      const episodes = await access.read(request, 'incidents', { ...range, limit }, async () =>
        book.handled(await queries.episodes({ ...range, limit, quietSeconds: settings.bruteForceWindowSeconds })),
      )
      return { episodes, count: episodes.length }
    },
  )

  for (const { path, step, id, summary } of STEPS) {
    const isOptional = step !== 'NOTED'
    app.post(
      `/audit/incidents/:id/${path}`,
      {
        onRequest: guards.operator('admin', 'operator'),
        config: { isBodyOptional: isOptional, errors: ['EVENT_NOT_FOUND', ...errors] },
        schema: {
          tags,
          ...adminKey,
          operationId: id,
          summary,
          description: 'An event of the trail, with who did it. The incident itself stays as it is.',
          params: IncidentParams,
          body: isOptional ? OptionalNote : RequiredNote,
          response: { 200: Handled },
        },
      },
      async request => {
        const { params, body } = request as { params: { id: number }; body: { note?: string } }
        const event = await queries.event(params.id)
        if (event?.action !== 'INCIDENT') throw new Refusal('EVENT_NOT_FOUND', 'There is no such incident.')
        await security.incidents.handle(params.id, step, body.note, actorOf(request))
        return { success: true as const, incident: params.id, message: `Incident ${params.id} ${DONE[step]}` }
      },
    )
  }
}

const DONE: Readonly<Record<IncidentStep, string>> = {
  ACKNOWLEDGED: 'acknowledged',
  NOTED: 'noted',
  RESOLVED: 'resolved',
}
