/** What can be read from the security database, over either connection: prepared once, a few microseconds a call. */
import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
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
import { unavailable } from './sqlite-unavailable.ts'

const CHARGE_POINT =
  'cp_id, location, security_status, credential_kind, credential_hash, token_version, created_at, updated_at'
/** What an unknown id reads instead of nothing, so that it takes as long: shaped like a row, told by its missing cp_id. */
const NO_CHARGE_POINT = `NULL, NULL, 'ACTIVE', 'generated', '${'x'.repeat(78)}', ${2 ** 47},
  '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z'`
const ADMIN = 'name, role, key_hash, created_at, revoked_at'
const SESSION = 'id_hash, admin, key_hash, created_at, expires_at, ended_at'
const STATUS = `
  SELECT cp.cp_id, cp.location, cp.security_status, cp.updated_at, k.version AS key_version,
    k.created_at AS key_created_at, seen.last_success
  FROM charge_points AS cp
  LEFT JOIN keys AS k ON k.cp_id = cp.cp_id AND k.revoked_at IS NULL
  LEFT JOIN last_seen AS seen ON seen.cp_id = cp.cp_id`

/** @throws {Refusal} STATE_UNAVAILABLE for what passes by itself */
function reading<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw unavailable(error) ?? error
  }
}

export type SqliteReads = ReturnType<typeof createReads>

export function createReads(database: DatabaseSync) {
  const one = <T>(sql: string) => {
    const statement = database.prepare(sql)
    return (...parameters: SQLInputValue[]): T | undefined => {
      const row = reading(() => statement.get(...parameters))
      return row === undefined ? undefined : ({ ...row } as T) // spread: SQLite's rows have no prototype
    }
  }
  const many = <T>(sql: string) => {
    const statement = database.prepare(sql)
    return (...parameters: SQLInputValue[]): T[] =>
      reading(() => statement.all(...parameters)).map(row => ({ ...row }) as T)
  }
  const page = <T>(select: string, id: string, status: string) => {
    // Ids are ASCII, so what begins with a text lies between it and it with the last code point behind.
    const range = `${id} > ? AND ${id} BETWEEN ? AND ? || char(1114111)`
    const all = many<T>(`${select} WHERE ${range} ORDER BY ${id} LIMIT ?`)
    const ofStatus = many<T>(`${select} WHERE ${status} = ? AND ${range} ORDER BY ${id} LIMIT ?`)
    return ({ status, after = '', prefix = '', limit }: PageOfChargePoints) =>
      status === undefined ? all(after, prefix, prefix, limit) : ofStatus(status, after, prefix, prefix, limit)
  }

  const chargePoint = one<ChargePointRecord>(
    `SELECT ${CHARGE_POINT} FROM charge_points WHERE cp_id = ? UNION ALL SELECT ${NO_CHARGE_POINT} LIMIT 1`,
  )
  const anyChosen = one("SELECT 1 AS found FROM charge_points WHERE credential_kind = 'chosen' LIMIT 1")
  const usualAddress = one('SELECT 1 AS found FROM usual_addresses WHERE cp_id = ? AND network = ?')
  const lastKeyVersion = one<{ version: number }>('SELECT max(version) AS version FROM keys WHERE cp_id = ?')
  const statusCounts = many<{ status: CpStatus; count: number }>(
    'SELECT security_status AS status, count(*) AS count FROM charge_points GROUP BY security_status',
  )
  const meta = one<{ value: string }>('SELECT value FROM meta WHERE name = ?')
  const outbox = many<{ id: number; uuid: string; event: string }>(
    'SELECT id, uuid, event FROM outbox WHERE id > ? ORDER BY id LIMIT ?',
  )

  return {
    chargePoint(cpId: string): ChargePointRecord | undefined {
      const found = chargePoint(cpId)
      return found?.cp_id === null ? undefined : found
    },
    chargePoints: page<ChargePointRecord>(`SELECT ${CHARGE_POINT} FROM charge_points`, 'cp_id', 'security_status'),
    status: one<StatusRecord>(`${STATUS} WHERE cp.cp_id = ?`),
    statuses: page<StatusRecord>(STATUS, 'cp.cp_id', 'cp.security_status'),
    hasChosenCredentials: () => anyChosen() !== undefined,
    currentKey: one<KeyRecord>(
      'SELECT key_id, cp_id, version, wrapped, fingerprint, created_at FROM keys WHERE cp_id = ? AND revoked_at IS NULL',
    ),
    lastKeyVersion: (cpId: string) => lastKeyVersion(cpId)?.version ?? 0,
    admin: one<AdminRecord>(`SELECT ${ADMIN} FROM admins WHERE name = ?`),
    adminByKeyHash: one<AdminRecord>(`SELECT ${ADMIN} FROM admins WHERE key_hash = ?`),
    admins: many<AdminRecord>(`SELECT ${ADMIN} FROM admins ORDER BY name`),
    statusCounts: () => Object.fromEntries(statusCounts().map(({ status, count }) => [status, count])),
    session: one<SessionRecord>(`SELECT ${SESSION} FROM sessions WHERE id_hash = ?`),
    sessionsOf: many<SessionRecord>(
      `SELECT ${SESSION} FROM sessions WHERE admin = ? AND ended_at IS NULL ORDER BY created_at`,
    ),
    isUsualAddress: (cpId: string, network: string) => usualAddress(cpId, network) !== undefined,
    meta: (name: string) => meta(name)?.value,
    outbox: (after: number, limit: number): OutboxRow[] =>
      outbox(after, limit).map(({ id, uuid, event }) => ({ id, uuid, event: JSON.parse(event) })),
  }
}
