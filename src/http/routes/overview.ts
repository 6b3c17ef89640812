/** The trail and the service at a glance: once, or followed. Following is one read of the trail, however long it lasts. */
import { SEVERITIES } from '../../event/catalogue.ts'
import { CP_STATUSES } from '../../security/security.ts'
import { createAccessRecorder } from '../access.ts'
import type { App, HttpDeps } from '../deps.ts'
import { nullableInteger, nullableText } from '../fields.ts'
import type { Followers } from '../followers.ts'
import type { Guards } from '../guards.ts'
import type { Overview, OverviewSource } from '../overview.ts'
import { object } from '../schema.ts'
import { addressCounts, chargePointCounts, counts } from './audit-reports.ts'
import { sendStream } from './audit-stream.ts'
import { EVIDENCE_EXAMPLE, evidenceFields } from './evidence-status.ts'

const EXAMPLE: Overview = {
  at: '2025-12-14T09:00:00.000Z',
  version: '0.1.0',
  last_event_id: 1041,
  ready: true,
  checks: [{ name: 'journal', ok: true, detail: 'open' }],
  evidence: EVIDENCE_EXAMPLE,
  events: {
    start_time: '2025-12-13T09:00:00.000Z',
    end_time: '2025-12-14T09:00:00.000Z',
    total: 1520,
    by_severity: { INFO: 1240, WARN: 268, CRITICAL: 12 },
    per_minute: { INFO: [1, 0], WARN: [0, 0], ERROR: [0, 0], CRITICAL: [0, 0] },
  },
  failed_logins: { INVALID_CREDENTIALS: 201 },
  attacked_charge_points: [{ cp_id: 'CP-0042', count: 58, failures: 51 }],
  attacking_addresses: [{ ip: '203.0.113.7', count: 61, failures: 60 }],
  incidents: {
    by_state: { open: 1, acknowledged: 0, resolved: 4 },
    newest: [
      {
        episode_id: 1046,
        reason_code: 'BRUTE_FORCE_SUSPECTED',
        who: 'CP-0042',
        ip: '203.0.113.7',
        scope: 'ip',
        last_seen: '2025-12-14T08:31:10.000Z',
        failure_count: 20,
        state: 'open',
      },
    ],
  },
  charge_points: { ACTIVE: 118, OUT_OF_SERVICE: 2, REVOKED: 1 },
}

const perMinute = { type: 'array', items: { type: 'integer' } } as const
const overview = object(
  {
    at: { type: 'string' },
    version: { type: 'string' },
    last_event_id: { type: 'integer' },
    ready: { type: 'boolean' },
    checks: {
      type: 'array',
      items: object({ name: { type: 'string' }, ok: { type: 'boolean' }, detail: { type: 'string' } }),
    },
    evidence: object(evidenceFields, { title: 'EvidenceStatus' }),
    events: object({
      start_time: { type: 'string' },
      end_time: { type: 'string' },
      total: { type: 'integer' },
      by_severity: counts,
      per_minute: object(Object.fromEntries(SEVERITIES.map(severity => [severity, perMinute])), {
        description: 'Events of each minute since `start_time`.',
      }),
    }),
    failed_logins: counts,
    attacked_charge_points: chargePointCounts('Most failed logins first.'),
    attacking_addresses: addressCounts('Most failed logins first.'),
    incidents: object({
      by_state: object({ open: { type: 'integer' }, acknowledged: { type: 'integer' }, resolved: { type: 'integer' } }),
      newest: {
        type: 'array',
        items: object({
          episode_id: { type: 'integer' },
          reason_code: { type: 'string' },
          who: { type: 'string' },
          ip: { type: 'string' },
          scope: nullableText(),
          last_seen: { type: 'string' },
          failure_count: nullableInteger(),
          state: { type: 'string' },
        }),
        description: 'Those that are not resolved, of the newest hundred.',
      },
    }),
    charge_points: {
      type: 'object',
      description: `How many have each status: ${CP_STATUSES.join(', ')}.`,
      additionalProperties: { type: 'integer' },
    },
  },
  { title: 'Overview', description: 'The last 24 hours, and how things stand.', examples: [EXAMPLE] },
)

export function overviewRoutes(
  app: App,
  deps: HttpDeps,
  guards: Guards,
  parts: { readonly overview: OverviewSource; readonly followers: Followers },
): void {
  const access = createAccessRecorder(deps.audit)
  const onRequest = guards.operator('admin', 'operator', 'auditor')
  const common = { tags: ['Audit'], security: [{ adminKey: [] }] }

  app.get(
    '/audit/overview',
    {
      onRequest,
      config: { errors: ['STORE_UNAVAILABLE', 'QUERY_TIMEOUT'] },
      schema: {
        ...common,
        operationId: 'overview',
        summary: 'The last 24 hours at a glance',
        response: { 200: overview },
      },
    },
    request => access.read(request, 'overview', {}, parts.overview.read),
  )

  app.get(
    '/audit/overview/stream',
    {
      onRequest,
      exposeHeadRoute: false,
      schema: {
        ...common,
        operationId: 'followOverview',
        summary: 'The same, again whenever it changed',
        description: 'Ends when the key is revoked, or the session ends.',
        response: {
          200: {
            description: 'Server-sent events; each has an overview.',
            content: {
              'text/event-stream': { schema: { type: 'string' }, example: `data: ${JSON.stringify(EXAMPLE)}\n\n` },
            },
          },
        },
      },
    },
    async (request, reply) => {
      const isAllowed = guards.stillAllowed(request)
      const stream = await access.read(request, 'overview', { follow: true }, async () =>
        parts.followers.admit(isAllowed, parts.overview.follow),
      )
      return sendStream(reply, stream) as never
    },
  )
}
