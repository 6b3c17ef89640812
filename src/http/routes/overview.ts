/** The trail and the service at a glance: once, or followed. Following is one read of the trail, however long it lasts. */
import { Type } from 'typebox'
import { SEVERITIES } from '../../event/catalogue.ts'
import { CP_STATUSES } from '../../security/security.ts'
import { createAccessRecorder } from '../access.ts'
import type { App, HttpDeps } from '../deps.ts'
import { nullableInteger, nullableText } from '../fields.ts'
import type { Followers } from '../followers.ts'
import type { Guards } from '../guards.ts'
import type { Overview, OverviewSource } from '../overview.ts'
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

const perMinute = Type.Array(Type.Integer())
const overview = Type.Object(
  {
    at: Type.String(),
    version: Type.String(),
    last_event_id: Type.Integer(),
    ready: Type.Boolean(),
    checks: Type.Array(Type.Object({ name: Type.String(), ok: Type.Boolean(), detail: Type.String() })),
    evidence: Type.Object(evidenceFields),
    events: Type.Object({
      start_time: Type.String(),
      end_time: Type.String(),
      total: Type.Integer(),
      by_severity: counts,
      per_minute: Type.Object(Object.fromEntries(SEVERITIES.map(severity => [severity, perMinute])), {
        description: 'Events of each minute since `start_time`.',
      }),
    }),
    failed_logins: counts,
    attacked_charge_points: chargePointCounts('Most failed logins first.'),
    attacking_addresses: addressCounts('Most failed logins first.'),
    incidents: Type.Object({
      by_state: Type.Object({ open: Type.Integer(), acknowledged: Type.Integer(), resolved: Type.Integer() }),
      newest: Type.Array(
        Type.Object({
          episode_id: Type.Integer(),
          reason_code: Type.String(),
          who: Type.String(),
          ip: Type.String(),
          scope: nullableText(),
          last_seen: Type.String(),
          failure_count: nullableInteger(),
          state: Type.String(),
        }),
        { description: 'Those that are not resolved, of the newest hundred.' },
      ),
    }),
    charge_points: Type.Unsafe<Overview['charge_points']>({
      type: 'object',
      description: `How many have each status: ${CP_STATUSES.join(', ')}.`,
      additionalProperties: { type: 'integer' },
    }),
  },
  { description: 'The last 24 hours, and how things stand.', examples: [EXAMPLE] },
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
    request => access.read(request, 'overview', {}, parts.overview.read) as never,
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
              'text/event-stream': { schema: Type.String(), example: `data: ${JSON.stringify(EXAMPLE)}\n\n` },
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
