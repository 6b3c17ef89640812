/** Operators take charge points out of service, restore and revoke them; everybody with a key sees how they are. */
import type { StatusChange } from '../../security/security.ts'
import type { App, HttpDeps } from '../deps.ts'
import { cpId, cpParams, cpStatus, nextCursor, nullableInteger, nullableText, reason } from '../fields.ts'
import { actorOf, type Guards } from '../guards.ts'
import { closed, object } from '../schema.ts'
import { ListQuery, listCursor, listRequest } from './charge-points.ts'

const example = { examples: [{ cp_id: 'CP-0042', reason: 'cable damaged' }] }
const ReasonedRequest = closed({ cp_id: cpId, reason }, {}, { title: 'ReasonedStatusRequest', ...example })
const RestoreRequest = closed({ cp_id: cpId }, { reason }, { title: 'RestoreRequest', ...example })

const StatusChanged = object(
  {
    success: { type: 'boolean', const: true },
    cp_id: cpId,
    old_status: cpStatus,
    new_status: cpStatus,
    message: { type: 'string' },
  },
  {
    title: 'StatusChange',
    description: 'Changed.',
    examples: [
      {
        success: true,
        cp_id: 'CP-0042',
        old_status: 'ACTIVE',
        new_status: 'OUT_OF_SERVICE',
        message: 'CP-0042 is OUT_OF_SERVICE',
      },
    ],
  },
)

const STATUS_EXAMPLE = {
  cp_id: 'CP-0042',
  location: 'Depot north, bay 7',
  security_status: 'ACTIVE',
  has_key: true,
  key_version: 2,
  key_age_seconds: 86_400,
  last_success: '2025-12-14T08:30:00.000Z',
  failures_in_window: 0,
  updated_at: '2025-12-13T08:30:00.000Z',
}

const statusFields = {
  cp_id: cpId,
  location: nullableText(),
  security_status: cpStatus,
  has_key: { type: 'boolean' },
  key_version: nullableInteger(),
  key_age_seconds: nullableInteger({ description: 'Since the current key was made.' }),
  last_success: nullableText({ description: 'Time of the last successful login.' }),
  failures_in_window: {
    type: 'integer',
    description: 'Failed logins within the brute-force window that may have been guesses.',
  },
  updated_at: { type: 'string' },
} as const
const SecurityStatus = object(statusFields, {
  title: 'SecurityStatus',
  description: 'How it is.',
  examples: [STATUS_EXAMPLE],
})
const SecurityStatuses = object(
  {
    charge_points: { type: 'array', items: object(statusFields, { title: 'SecurityStatus' }) },
    next_cursor: nextCursor,
  },
  {
    title: 'SecurityStatuses',
    description: 'Ordered by cp_id.',
    examples: [{ charge_points: [STATUS_EXAMPLE], next_cursor: null }],
  },
)

export function statusRoutes(app: App, { security }: HttpDeps, guards: Guards): void {
  const { status, chargePoints } = security
  const onRequest = guards.operator('admin', 'operator')
  const config = { errors: ['CP_NOT_FOUND', 'INVALID_TRANSITION'] } as const
  const schema = { tags: ['Status'], security: [{ adminKey: [] }], response: { 200: StatusChanged } }

  app.post(
    '/status/out-of-service',
    {
      onRequest,
      config,
      schema: {
        ...schema,
        operationId: 'takeOutOfService',
        summary: 'Take out of service',
        description: 'From ACTIVE, or from REVOKED as the first of two steps back.',
        body: ReasonedRequest,
      },
    },
    async request => {
      const { cp_id, reason } = request.body
      return changed(await status.outOfService(cp_id, reason, actorOf(request)))
    },
  )

  app.post(
    '/status/restore',
    {
      onRequest,
      config,
      schema: {
        ...schema,
        operationId: 'restore',
        summary: 'Restore to ACTIVE',
        description: 'From OUT_OF_SERVICE only.',
        body: RestoreRequest,
      },
    },
    async request => {
      const { cp_id, reason } = request.body
      return changed(await status.restore(cp_id, reason, actorOf(request)))
    },
  )

  app.post(
    '/status/revoke',
    {
      onRequest,
      config,
      schema: {
        ...schema,
        operationId: 'revoke',
        summary: 'Revoke',
        description: 'From ACTIVE or OUT_OF_SERVICE. The key and every token are revoked at once.',
        body: ReasonedRequest,
      },
    },
    async request => {
      const { cp_id, reason } = request.body
      return changed(await status.revoke(cp_id, reason, actorOf(request)))
    },
  )

  const reads = { onRequest: guards.operator('admin', 'operator', 'auditor') }

  app.get(
    '/security/status',
    {
      ...reads,
      schema: {
        operationId: 'securityStatuses',
        tags: ['Status'],
        summary: 'Security status of all charge points',
        security: [{ adminKey: [] }],
        querystring: ListQuery,
        response: { 200: SecurityStatuses },
      },
    },
    async ({ query }) => {
      const { charge_points, next } = await chargePoints.statuses(listRequest(query))
      return { charge_points, next_cursor: listCursor(query, next) }
    },
  )

  app.get(
    '/security/status/:cp_id',
    {
      ...reads,
      config: { errors: ['CP_NOT_FOUND'] },
      schema: {
        operationId: 'securityStatus',
        tags: ['Status'],
        summary: 'Security status of a charge point',
        security: [{ adminKey: [] }],
        params: cpParams,
        response: { 200: SecurityStatus },
      },
    },
    request => chargePoints.status(request.params.cp_id),
  )
}

function changed(change: StatusChange) {
  return { success: true as const, ...change, message: `${change.cp_id} is ${change.new_status}` }
}
