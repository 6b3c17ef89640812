/**
 * What a data folder has besides its events and signatures, table by table: who may come in, and what was taken in already. Sessions of
 * people at a browser stay behind: they sign in again.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { Session } from '../postgres/postgres.ts'
import { formatField } from '../store/postgres-rows.ts'

interface MovedTable {
  /** Which database of the folder. */
  readonly database: 'audit' | 'security'
  readonly from: string
  readonly to: string
  readonly columns: readonly string[]
  /** By which both are in the same order. */
  readonly key: string
}

/** In this order: a charge point comes before what refers to it. */
const MOVED_TABLES: readonly MovedTable[] = [
  { database: 'audit', from: 'positions', to: 'positions', columns: ['source', 'position'], key: 'source' },
  { database: 'audit', from: 'once_keys', to: 'once_keys', columns: ['key'], key: 'key' },
  {
    database: 'audit',
    from: 'legal_holds',
    to: 'legal_holds',
    columns: ['id', 'start_time', 'end_time', 'reason', 'placed_by', 'placed_at'],
    key: 'id',
  },
  {
    database: 'security',
    from: 'charge_points',
    to: 'charge_points',
    columns: [
      'cp_id',
      'location',
      'security_status',
      'credential_kind',
      'credential_hash',
      'token_version',
      'created_at',
      'updated_at',
    ],
    key: 'cp_id',
  },
  {
    database: 'security',
    from: 'keys',
    to: 'charge_point_keys',
    columns: [
      'number',
      'key_id',
      'cp_id',
      'version',
      'wrapped',
      'fingerprint',
      'nonces_used',
      'created_at',
      'revoked_at',
    ],
    key: 'number',
  },
  {
    database: 'security',
    from: 'message_nonces',
    to: 'message_nonces',
    columns: ['key_number', 'nonce'],
    key: 'key_number, nonce',
  },
  { database: 'security', from: 'keys_to_sweep', to: 'keys_to_sweep', columns: ['key_number'], key: 'key_number' },
  {
    database: 'security',
    from: 'admins',
    to: 'admins',
    columns: ['name', 'role', 'key_hash', 'created_at', 'revoked_at'],
    key: 'name',
  },
  { database: 'security', from: 'last_seen', to: 'last_seen', columns: ['cp_id', 'last_success'], key: 'cp_id' },
  {
    database: 'security',
    from: 'usual_addresses',
    to: 'usual_addresses',
    columns: ['cp_id', 'network', 'seen_at'],
    key: 'cp_id, network',
  },
  { database: 'security', from: 'meta', to: 'security_meta', columns: ['name', 'value'], key: 'name' },
]

/** Come with the events that they are of (copy-events.ts). */
const TABLES_OF_EVENTS: readonly MovedTable[] = [
  { database: 'audit', from: 'log_erasures', to: 'log_erasures', columns: ['id', 'tombstone'], key: 'id' },
  {
    database: 'audit',
    from: 'event_archives',
    to: 'event_archives',
    columns: [
      'number',
      'first_id',
      'last_id',
      'first_time',
      'last_time',
      'file',
      'sha256',
      'manifest_sha256',
      'archived_at',
    ],
    key: 'number',
  },
]

export type SourceDatabases = Readonly<Record<MovedTable['database'], DatabaseSync>>

const ROWS_AT_ONCE = 10_000

/** In a transaction of the caller's, into empty tables. @param onCopied told of so many more rows */
export async function copyTables(
  session: Session,
  from: SourceDatabases,
  onCopied: (rows: number) => void,
): Promise<void> {
  for (const table of MOVED_TABLES) {
    const copy = `COPY ${table.to} (${table.columns.join(', ')}) FROM STDIN`
    for (const lines of inPortions(linesOf(from[table.database], table))) {
      await session.copy(copy, Buffer.from(lines.map(line => `${line}\n`).join('')))
      onCopied(lines.length)
    }
  }
  // Numbers are never given twice, also not those of keys and holds that are gone.
  await goOnCounting(session, from.security, {
    table: 'keys',
    to: "pg_get_serial_sequence('charge_point_keys', 'number')",
  })
  await goOnCounting(session, from.audit, { table: 'legal_holds', to: "pg_get_serial_sequence('legal_holds', 'id')" })
}

async function goOnCounting(session: Session, db: DatabaseSync, { table, to }: { table: string; to: string }) {
  const given = db.prepare('SELECT seq FROM sqlite_sequence WHERE name = ?').get(table)?.seq
  if (given !== undefined) await session.query(`SELECT setval(${to}, $1)`, [Number(given)])
}

/** In one snapshot of the caller's. @returns the table that is not the same, and how */
export async function findOtherTable(session: Session, from: SourceDatabases): Promise<string | undefined> {
  for (const table of [...TABLES_OF_EVENTS, ...MOVED_TABLES]) {
    const columns = table.columns.join(', ')
    await session.query(`DECLARE moved CURSOR FOR SELECT ${columns} FROM ${table.to} ORDER BY ${table.key}`)
    const there = fetchLines(session, table)
    let line = 0
    for (const lines of inPortions(linesOf(from[table.database], table))) {
      for (const expected of lines) {
        line++
        if ((await there.next()).value !== expected) return `${table.to}, from its row ${line} on`
      }
    }
    if (!(await there.next()).done) return `${table.to}, which has more than ${line} rows`
    await session.query('CLOSE moved')
  }
  return undefined
}

export function countMovedRows(from: SourceDatabases): number {
  return MOVED_TABLES.reduce(
    (sum, table) => sum + Number(from[table.database].prepare(`SELECT count(*) AS n FROM ${table.from}`).get()?.n),
    0,
  )
}

function* linesOf(db: DatabaseSync, { from, columns, key }: MovedTable): Generator<string> {
  const rows = db.prepare(`SELECT ${columns.join(', ')} FROM ${from} ORDER BY ${key}`).iterate()
  for (const row of rows) yield formatRow(row, columns)
}

async function* fetchLines(session: Session, { columns }: MovedTable): AsyncGenerator<string> {
  for (;;) {
    const { rows } = await session.query<Record<string, unknown>>(`FETCH ${ROWS_AT_ONCE} FROM moved`)
    if (rows.length === 0) return
    for (const row of rows) yield formatRow(row, columns)
  }
}

function* inPortions(lines: Iterable<string>): Generator<readonly string[]> {
  let portion: string[] = []
  for (const line of lines) {
    portion.push(line)
    if (portion.length < ROWS_AT_ONCE) continue
    yield portion
    portion = []
  }
  if (portion.length > 0) yield portion
}

/** As a line of COPY; the same of the same values, from whichever database. */
function formatRow(row: Readonly<Record<string, unknown>>, columns: readonly string[]): string {
  return columns
    .map(column => {
      const value = row[column]
      if (value instanceof Uint8Array) return `\\\\x${Buffer.from(value).toString('hex')}`
      return formatField(value as string | number | null)
    })
    .join('\t')
}
