/** Operators register charge points, issue credentials, list and remove. */
import { LIMITS } from '../../limits.ts'
import { formatCursor, parseCursor } from '../cursor.ts'
import type { App, HttpDeps } from '../deps.ts'
import {
  CP_ID,
  cpId,
  cpParams,
  cpStatus,
  cursorText,
  EXAMPLE_CREDENTIALS,
  location,
  nextCursor,
  nullableText,
  reason,
  SAFE_TEXT,
} from '../fields.ts'
import { actorOf, type Guards } from '../guards.ts'
import { closed, object, type ValueOf } from '../schema.ts'

const RegisterRequest = closed(
  {
    cp_id: {
      ...cpId,
      description:
        'Identity of the charge point. Better not `.` or `..`: most clients cannot ask for an address with such a part.',
    },
  },
  {
    location,
    credentials: {
      type: 'string',
      minLength: LIMITS.credentialsCharactersMin,
      maxLength: LIMITS.credentialsCharactersMax,
      pattern: SAFE_TEXT,
      description: 'Generated if not given, which is better.',
    },
  },
  { title: 'RegistrationRequest', examples: [{ cp_id: 'CP-0042', location: 'Depot north, bay 7' }] },
)

const chargePointFields = { cp_id: cpId, location: nullableText(), security_status: cpStatus }
const EXAMPLE = { cp_id: 'CP-0042', location: 'Depot north, bay 7', security_status: 'ACTIVE' }

const Registered = {
  ...object(chargePointFields, {
    title: 'RegisteredChargePoint',
    description: 'Registered.',
    examples: [{ ...EXAMPLE, credentials: EXAMPLE_CREDENTIALS }],
  }),
  properties: {
    ...chargePointFields,
    credentials: { type: 'string', description: 'Only if generated; shown this once.' },
  },
} as const

const ReissueRequest = closed({}, { reason }, { title: 'ReissueRequest', examples: [{ reason: 'unit replaced' }] })

const Reissued = object(
  { ...chargePointFields, credentials: { type: 'string', description: 'Shown this once.' } },
  {
    title: 'ReissuedChargePoint',
    description: 'New credentials.',
    examples: [{ ...EXAMPLE, credentials: EXAMPLE_CREDENTIALS }],
  },
)

/** Also of the security status list: both walk charge points by id. */
export const ListQuery = closed(
  {},
  {
    status: cpStatus,
    cp_id_prefix: { type: 'string', pattern: CP_ID, description: 'Only those whose id begins so.' },
    limit: { type: 'integer', minimum: 1, maximum: LIMITS.listChargePointsMax, description: 'Default 100.' },
    cursor: cursorText,
  },
)

const ChargePoints = object(
  {
    charge_points: { type: 'array', items: object(chargePointFields, { title: 'ChargePoint' }) },
    next_cursor: nextCursor,
  },
  {
    title: 'ChargePointPage',
    description: 'Ordered by cp_id.',
    examples: [{ charge_points: [EXAMPLE], next_cursor: null }],
  },
)

export function chargePointRoutes(app: App, { security }: HttpDeps, guards: Guards): void {
  const { chargePoints } = security
  const onRequest = guards.operator('admin', 'operator')
  const tags = ['Charge points']

  app.post(
    '/charge-points',
    {
      onRequest,
      config: { errors: ['CP_EXISTS'] },
      schema: {
        operationId: 'registerChargePoint',
        tags,
        summary: 'Register a charge point',
        security: [{ adminKey: [] }],
        body: RegisterRequest,
        response: { 201: Registered },
      },
    },
    async (request, reply) => {
      const registered = await chargePoints.register(request.body, actorOf(request))
      return reply.code(201).send(registered)
    },
  )

  app.post(
    '/charge-points/:cp_id/credentials',
    {
      onRequest,
      config: { errors: ['CP_NOT_FOUND'], isBodyOptional: true },
      schema: {
        operationId: 'reissueCredentials',
        tags,
        summary: 'Issue new credentials',
        description: 'The old credentials and all tokens stop working at once. The body may be left out.',
        security: [{ adminKey: [] }],
        params: cpParams,
        body: ReissueRequest,
        response: { 200: Reissued },
      },
    },
    request => chargePoints.reissueCredentials(request.params.cp_id, request.body.reason, actorOf(request)),
  )

  app.get(
    '/charge-points',
    {
      onRequest: guards.operator('admin', 'operator', 'auditor'),
      schema: {
        operationId: 'listChargePoints',
        tags,
        summary: 'List charge points',
        security: [{ adminKey: [] }],
        querystring: ListQuery,
        response: { 200: ChargePoints },
      },
    },
    async ({ query }) => {
      const { charge_points, next } = await chargePoints.list(listRequest(query))
      return { charge_points, next_cursor: listCursor(query, next) }
    },
  )

  app.delete(
    '/charge-points/:cp_id',
    {
      onRequest,
      config: { errors: ['CP_NOT_FOUND'] },
      schema: {
        operationId: 'removeChargePoint',
        tags,
        summary: 'Remove a charge point',
        description: 'Its audit trail stays.',
        security: [{ adminKey: [] }],
        params: cpParams,
        response: { 204: { type: 'null', description: 'Removed.' } },
      },
    },
    async (request, reply) => {
      await chargePoints.remove(request.params.cp_id, actorOf(request))
      return reply.code(204).send(null)
    },
  )
}

type List = ValueOf<typeof ListQuery>

/** @throws {Refusal} VALIDATION_FAILED when the cursor is not of a list with these filters. */
export function listRequest(query: List) {
  const { status, cp_id_prefix: prefix, limit = LIMITS.pageEventsDefault, cursor } = query
  return {
    limit,
    ...(status === undefined ? {} : { status }),
    ...(prefix === undefined ? {} : { prefix }),
    ...(cursor === undefined ? {} : { after: parseCursor(cursor, listBinding(query)) }),
  }
}

export function listCursor(query: List, next: string | null): string | null {
  return next === null ? null : formatCursor(next, listBinding(query))
}

function listBinding({ status, cp_id_prefix }: List): string {
  return `charge points ${status ?? 'all'} ${cp_id_prefix ?? ''}`.trimEnd()
}
