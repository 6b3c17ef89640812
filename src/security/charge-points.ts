/** Registration of charge points and what operators see of them. Owns no state. */
import { randomInt } from 'node:crypto'
import type { Audit } from '../audit/audit.ts'
import * as events from '../audit/events.ts'
import { Refusal, type Violation } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { Credentials } from './credentials.ts'
import type { LastSeenNotes } from './last-seen.ts'
import type { Change } from './outbox.ts'
import type { ChargePoint, Security, SecurityStatus } from './security.ts'
import type { ChargePointRecord, SecurityState, StatusRecord } from './security-state.ts'

const CP_ID = /^[A-Za-z0-9*\-_=:+|@.]+$/

/** Random, so that the tokens of an id that was deleted and registered again stay worthless. */
const newTokenVersion = () => randomInt(2 ** 48 - 1)

type Registration = Parameters<Security['chargePoints']['register']>[0]

export function createChargePoints(deps: {
  state: Pick<SecurityState, 'chargePoint' | 'chargePoints' | 'status' | 'statuses' | 'statusCounts' | 'refresh'>
  change: Change
  audit: Pick<Audit, 'failuresInWindow'>
  credentials: Credentials
  lastSeen: LastSeenNotes
}): Security['chargePoints'] {
  const { state, change, audit, credentials, lastSeen } = deps

  const register: Security['chargePoints']['register'] = async (input, actor) => {
    refuseInvalid(input)
    const { cp_id, location = null, credentials: chosen } = input
    await state.refresh()
    if ((await state.chargePoint(cp_id)) !== undefined) throw new Refusal('CP_EXISTS') // before the expensive hash
    const generated = chosen === undefined ? credentials.generate() : undefined
    const stored = generated?.stored ?? (await credentials.hashChosen(cp_id, chosen ?? ''))
    const at = new Date().toISOString()
    const chargePoint = { cp_id, location, security_status: 'ACTIVE' } as const
    await change('admin', async transaction => {
      if ((await transaction.chargePoint(cp_id)) !== undefined) throw new Refusal('CP_EXISTS')
      await transaction.putChargePoint({
        ...chargePoint,
        ...stored,
        token_version: newTokenVersion(),
        created_at: at,
        updated_at: at,
      })
      const metadata = { cp_id, actor: actor.name }
      await transaction.record(
        events.system('CP_REGISTERED', undefined, { description: `CP ${cp_id} registered`, metadata }),
      )
    })
    return generated === undefined ? chargePoint : { ...chargePoint, credentials: generated.credentials }
  }

  const reissueCredentials: Security['chargePoints']['reissueCredentials'] = async (cpId, reason, actor) => {
    const { credentials: secret, stored } = credentials.generate()
    const record = await change('admin', async transaction => {
      const before = await transaction.chargePoint(cpId)
      if (before === undefined) throw new Refusal('CP_NOT_FOUND')
      const at = new Date().toISOString()
      await transaction.putChargePoint({
        ...before,
        ...stored,
        token_version: before.token_version + 1,
        updated_at: at,
      })
      const description = `New credentials issued for CP ${cpId}`
      const metadata = { cp_id: cpId, actor: actor.name, reason }
      await transaction.record(events.system('CREDENTIALS_ISSUED', undefined, { description, metadata }))
      return before
    })
    return { ...publicPart(record), credentials: secret }
  }

  const remove: Security['chargePoints']['remove'] = async (cpId, actor) => {
    await change('admin', async transaction => {
      if ((await transaction.chargePoint(cpId)) === undefined) throw new Refusal('CP_NOT_FOUND')
      await transaction.removeChargePoint(cpId)
      const metadata = { cp_id: cpId, actor: actor.name }
      await transaction.record(events.system('CP_DELETED', undefined, { description: `CP ${cpId} deleted`, metadata }))
    })
    lastSeen.forget(cpId)
  }

  function statusOf(record: StatusRecord): SecurityStatus {
    const { key_created_at: madeAt, ...rest } = record
    return {
      cp_id: rest.cp_id,
      location: rest.location,
      security_status: rest.security_status,
      has_key: rest.key_version !== null,
      key_version: rest.key_version,
      key_age_seconds: madeAt === null ? null : Math.max(0, Math.floor((Date.now() - Date.parse(madeAt)) / 1000)),
      last_success: lastSeen.unsavedSuccess(rest.cp_id) ?? rest.last_success,
      failures_in_window: audit.failuresInWindow(rest.cp_id),
      updated_at: rest.updated_at,
    }
  }

  return {
    register,
    reissueCredentials,
    remove,
    async list(request) {
      const { page, next } = cut(await state.chargePoints({ ...request, limit: request.limit + 1 }), request.limit)
      return { charge_points: page.map(publicPart), next }
    },
    async status(cpId) {
      const record = await state.status(cpId)
      if (record === undefined) throw new Refusal('CP_NOT_FOUND')
      return statusOf(record)
    },
    async statuses(request) {
      const { page, next } = cut(await state.statuses({ ...request, limit: request.limit + 1 }), request.limit)
      return { charge_points: page.map(statusOf), next }
    },
    counts: async () => ({ ACTIVE: 0, OUT_OF_SERVICE: 0, REVOKED: 0, ...(await state.statusCounts()) }),
  }
}

/** One more than a page was asked for, to know whether there is a next one. */
function cut<T extends { readonly cp_id: string }>(rows: T[], limit: number): { page: T[]; next: string | null } {
  const page = rows.slice(0, limit)
  return { page, next: rows.length > limit ? (page.at(-1)?.cp_id ?? null) : null }
}

function publicPart({ cp_id, location, security_status }: ChargePointRecord): ChargePoint {
  return { cp_id, location, security_status }
}

/** In code points, as JSON Schema counts: what the door took may not be too long here. */
function charactersOf(text: string): number {
  return [...text].length
}

/** Doors have schemas; the rules that what is stored depends on hold for every door. */
function refuseInvalid({ cp_id, location, credentials }: Registration): void {
  const violations: Violation[] = []
  if (!CP_ID.test(cp_id)) violations.push({ field: 'cp_id', rule: 'pattern' })
  if (cp_id.length > LIMITS.cpIdCharactersMax) violations.push({ field: 'cp_id', rule: 'maxLength' })
  if (location !== undefined && charactersOf(location) > LIMITS.locationCharactersMax) {
    violations.push({ field: 'location', rule: 'maxLength' })
  }
  if (credentials !== undefined) {
    const characters = charactersOf(credentials)
    if (characters < LIMITS.credentialsCharactersMin) violations.push({ field: 'credentials', rule: 'minLength' })
    if (characters > LIMITS.credentialsCharactersMax) violations.push({ field: 'credentials', rule: 'maxLength' })
  }
  if (violations.length > 0) throw new Refusal('VALIDATION_FAILED', undefined, { violations })
}
