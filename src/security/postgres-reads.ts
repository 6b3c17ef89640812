/** What can be read from the security state in PostgreSQL, in a transaction or outside of one. Prepared once in each session. */
import type { Session } from '../postgres/postgres.ts'
import type { CpStatus } from './security.ts'
import type {
  AdminRecord,
  ChargePointRecord,
  KeyRecord,
  OutboxRow,
  PageOfChargePoints,
  SessionRecord,
  StatusRecord,
} from './security-state.ts'

export const CHARGE_POINT =
  'cp_id, location, security_status, credential_kind, credential_hash, token_version, created_at, updated_at'
export const ADMIN = 'name, role, key_hash, created_at, revoked_at'
const SESSION = 'id_hash, admin, key_hash, created_at, expires_at, ended_at'
const STATUS = `
  SELECT cp.cp_id, cp.location, cp.security_status, cp.updated_at, k.version AS key_version,
    k.created_at AS key_created_at, seen.last_success
  FROM charge_points AS cp
  LEFT JOIN charge_point_keys AS k ON k.cp_id = cp.cp_id AND k.revoked_at IS NULL
  LEFT JOIN last_seen AS seen ON seen.cp_id = cp.cp_id`

/** @param ask runs one statement, in whichever session the caller means */
export function createReads(ask: Session['query']) {
  const many =
    <T extends object>(name: string, sql: string) =>
    async (...values: unknown[]): Promise<T[]> =>
      (await ask<T>(sql, values, `security ${name}`)).rows
  const one = <T extends object>(name: string, sql: string) => {
    const all = many<T>(name, sql)
    return async (...values: unknown[]): Promise<T | undefined> => (await all(...values))[0]
  }
  const page = <T extends object>(name: string, select: string, id: string, status: string) => {
    // Ids are ASCII, so what begins with a text lies between it and it with the last code point behind.
    const range = `${id} > $1 AND ${id} BETWEEN $2 AND $2::text || chr(1114111)`
    const all = many<T>(`${name} page`, `${select} WHERE ${range} ORDER BY ${id} LIMIT $3`)
    const ofStatus = many<T>(
      `${name} page of status`,
      `${select} WHERE ${range} AND ${status} = $4 ORDER BY ${id} LIMIT $3`,
    )
    return ({ status, after = '', prefix = '', limit }: PageOfChargePoints) =>
      status === undefined ? all(after, prefix, limit) : ofStatus(after, prefix, limit, status)
  }

  const anyChosen = one('any chosen', "SELECT 1 AS found FROM charge_points WHERE credential_kind = 'chosen' LIMIT 1")
  const usualAddress = one('usual address', 'SELECT 1 AS found FROM usual_addresses WHERE cp_id = $1 AND network = $2')
  const currentKey = one<KeyRecord>(
    'current key',
    `SELECT key_id, cp_id, version, wrapped, fingerprint, created_at FROM charge_point_keys
     WHERE cp_id = $1 AND revoked_at IS NULL`,
  )
  const lastKeyVersion = one<{ version: number | null }>(
    'last key version',
    'SELECT max(version) AS version FROM charge_point_keys WHERE cp_id = $1',
  )
  const statusCounts = many<{ status: CpStatus; count: number }>(
    'status counts',
    'SELECT security_status AS status, count(*) AS count FROM charge_points GROUP BY security_status',
  )
  const meta = one<{ value: string }>('meta', 'SELECT value FROM security_meta WHERE name = $1')
  const outbox = many<{ id: number; uuid: string; event: string }>(
    'outbox',
    'SELECT id, uuid, event FROM outbox WHERE instance = $1 AND id > $2 ORDER BY id LIMIT $3',
  )

  return {
    chargePoint: one<ChargePointRecord>('charge point', `SELECT ${CHARGE_POINT} FROM charge_points WHERE cp_id = $1`),
    chargePoints: page<ChargePointRecord>(
      'charge points',
      `SELECT ${CHARGE_POINT} FROM charge_points`,
      'cp_id',
      'security_status',
    ),
    status: one<StatusRecord>('status', `${STATUS} WHERE cp.cp_id = $1`),
    statuses: page<StatusRecord>('statuses', STATUS, 'cp.cp_id', 'cp.security_status'),
    statusCounts: async (): Promise<Partial<Record<CpStatus, number>>> =>
      Object.fromEntries((await statusCounts()).map(({ status, count }) => [status, count])),
    hasChosenCredentials: async () => (await anyChosen()) !== undefined,
    async currentKey(cpId: string): Promise<KeyRecord | undefined> {
      const found = await currentKey(cpId)
      // A Buffer is one too, but of a pool that it shares.
      return found === undefined ? undefined : { ...found, wrapped: new Uint8Array(found.wrapped) }
    },
    lastKeyVersion: async (cpId: string) => (await lastKeyVersion(cpId))?.version ?? 0,
    admin: one<AdminRecord>('admin', `SELECT ${ADMIN} FROM admins WHERE name = $1`),
    adminByKeyHash: one<AdminRecord>('admin by key', `SELECT ${ADMIN} FROM admins WHERE key_hash = $1`),
    admins: many<AdminRecord>('admins', `SELECT ${ADMIN} FROM admins ORDER BY name`),
    session: one<SessionRecord>('session', `SELECT ${SESSION} FROM sessions WHERE id_hash = $1`),
    sessionsOf: many<SessionRecord>(
      'sessions of admin',
      `SELECT ${SESSION} FROM sessions WHERE admin = $1 AND ended_at IS NULL ORDER BY created_at`,
    ),
    isUsualAddress: async (cpId: string, network: string) => (await usualAddress(cpId, network)) !== undefined,
    meta: async (name: string) => (await meta(name))?.value,
    outbox: async (instance: string, after: number, limit: number): Promise<OutboxRow[]> =>
      (await outbox(instance, after, limit)).map(({ id, uuid, event }) => ({ id, uuid, event: JSON.parse(event) })),
  }
}
