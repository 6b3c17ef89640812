/**
 * Reads the rows and what the log keeps beside them out of an event database of SQLite, in one read transaction: what is written
 * meanwhile is not seen. Nothing in the file is trusted, its schema included: names of tables go into SQL only if they are of the
 * documented form. Read-only; the service may run.
 *
 *   event_segments                        which tables hold the rows; `audit_events` is the only one, or a view of all
 *   log_head, log_edge, log_bundles       the tree's right edge and the salts
 *   log_erasures, event_archives          what was erased, and what left
 */
import { existsSync, statSync } from 'node:fs'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { SALT_BYTES, saltsOfSeed } from '../../evidence/leaf.ts'
import { TILE_WIDTH } from '../../evidence/tile.ts'
import type { ErasureClaim, FoundRow, Head, LogRecord, RowText, StoredRows } from '../source.ts'
import { RECORDED_REASONS } from '../source.ts'

export interface Segment {
  readonly number: number
  readonly table: string
  readonly first: number
  /** Infinite while it grows. */
  readonly last: number
}

export interface ArchiveRow {
  readonly number: number
  readonly first: number
  readonly last: number
  readonly file: string
  readonly manifestSha256: string
}

export interface LogDatabase extends Disposable {
  readonly db: DatabaseSync
  /** In the order of their numbers; of those that are listed, those whose tables are there. */
  readonly listed: readonly Segment[]
  readonly segments: readonly Segment[]
  readonly archives: readonly ArchiveRow[]
  /** Changes when rows leave or are erased; equal for transactions that see the same rows. */
  readonly fingerprint: string
  head(): Head | undefined
  erasures(): ErasureClaim[]
  records(): LogRecord[]
  /** The partial tile of a level, with its index. */
  edgeTile(level: number): { readonly index: number; readonly hashes: Uint8Array } | undefined
  /** Undefined when this range is not here, as it left with an archive. */
  rows(index: number, width: number): StoredRows | undefined
}

/** The file is no event database with a log, or is damaged. */
export class UnreadableSource extends Error {
  override readonly name = 'UnreadableSource'
}

const COLUMNS =
  'id, date_time, who, ip, action, description, severity, reason_code, request_id, endpoint, http_method, status_code, metadata_json, created_at'

/** See row-text.ts. */
const ENTRY_AS_TEXT = `json_object('action', action, 'commitment', '${'#'.repeat(44)}', 'created_at', created_at,
  'date_time', date_time, 'id', id, 'reason_code', reason_code, 'severity', severity, 'status_code', status_code, 'v', 1)`
const PRIVATE_AS_TEXT = `json_object('description', description, 'endpoint', endpoint, 'http_method', http_method, 'ip', ip,
  'metadata_json', metadata_json, 'request_id', request_id, 'who', who)`
const LENGTH_AS_TEXT = `'??'`
const SALT_AS_TEXT = `(char(10) || '0123456789abcde')`

/**
 * Bytes must not be taken for text: where they are JSONB, SQLite would spell what is in them. Every value of bytes, and no other, is
 * at least as great as none. The ids are between two numbers, so none of them is bytes.
 */
const HAS_BYTES = COLUMNS.split(', ')
  .filter(column => column !== 'id')
  .map(column => `${column} >= x''`)
  .join(' OR ')

const TABLE_NAME = /^audit_events(?:_[1-9][0-9]*)?$/
/** Rows are read once, in their order, and neighbours in an index are near each other; other pages come from the system's cache. */
const CACHE_KIB = 8 * 1024

/** @throws {UnreadableSource} */
export function openLogDatabase(path: string): LogDatabase {
  const db = openReadOnly(path)
  try {
    db.exec(`PRAGMA cache_size = -${CACHE_KIB}; BEGIN`)
    return readDatabase(db)
  } catch (error) {
    db.close()
    if (error instanceof UnreadableSource) throw error
    throw new UnreadableSource(`the database cannot be read: ${(error as Error).message}`, { cause: error })
  }
}

/**
 * On a disk that cannot be written, SQLite cannot make the files that it shares with other readers; if there is no log of unwritten
 * pages, the file may be read as one that does not change.
 */
function openReadOnly(path: string): DatabaseSync {
  if (!existsSync(path)) throw new UnreadableSource('the database is missing, and its log is there')
  try {
    const db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 })
    try {
      db.prepare('SELECT 1 FROM sqlite_schema LIMIT 1').get()
      return db
    } catch (error) {
      db.close()
      throw error
    }
  } catch (error) {
    const waiting = statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
    if (waiting > 0) {
      throw new UnreadableSource(`the database cannot be read: ${(error as Error).message}`, { cause: error })
    }
    try {
      return new DatabaseSync(new URL(`${pathToFileURL(path).href}?immutable=1`), { readOnly: true })
    } catch {
      throw new UnreadableSource(`the database cannot be read: ${(error as Error).message}`, { cause: error })
    }
  }
}

function readDatabase(db: DatabaseSync): LogDatabase {
  const hasTable = (name: string) =>
    db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(name) !== undefined
  for (const name of ['event_segments', 'log_head', 'log_edge', 'log_bundles']) {
    if (!hasTable(name)) throw new UnreadableSource(`the database has no table ${name}, so there is no log in it`)
  }
  const listed = readSegments(db)
  const segments = listed.filter(({ table }) => hasTable(table))
  const archives = hasTable('event_archives') ? readArchives(db) : []
  const hasErasures = hasTable('log_erasures')
  const counted = hasErasures ? db.prepare('SELECT count(*) AS n FROM log_erasures').get()?.n : 0
  const selectBundle = db.prepare('SELECT * FROM log_bundles WHERE bundle = ?') // an older one has no seeds
  const selectEdge = db.prepare('SELECT tile, hashes FROM log_edge WHERE level = ?')
  const statements = new Map<string, { readonly text: StatementSync; readonly values: StatementSync }>()

  function statementsOf(table: string) {
    const known = statements.get(table)
    if (known !== undefined) return known
    const rows = `FROM ${table} WHERE id BETWEEN ? AND ?`
    const made = {
      // In the order in which the table is walked, which is that of the ids. Were it another, these would not be the entries.
      text: db.prepare(
        `SELECT CAST(${LENGTH_AS_TEXT} || group_concat(${ENTRY_AS_TEXT}, ${LENGTH_AS_TEXT}) AS BLOB) AS entries,
                CAST(${SALT_AS_TEXT} || group_concat(${PRIVATE_AS_TEXT}, ${SALT_AS_TEXT}) AS BLOB) AS privates,
                count(*) FILTER (WHERE ${HAS_BYTES}) AS bytes ${rows}`,
      ),
      values: db.prepare(`SELECT ${COLUMNS} ${rows} ORDER BY id`),
    }
    statements.set(table, made)
    return made
  }

  return {
    db,
    listed,
    segments,
    archives,
    fingerprint: JSON.stringify([segments.map(({ first }) => first), archives.length, counted]),
    head() {
      const row = db.prepare('SELECT size, root, edge, synced_size FROM log_head').get()
      if (row === undefined) return undefined
      const [root, edge] = [bytesOf(row.root), bytesOf(row.edge)]
      return { size: countOf(row.size), root, edge, syncedSize: countOf(row.synced_size) }
    },
    erasures() {
      if (!hasErasures) return []
      const rows = db.prepare('SELECT id, tombstone FROM log_erasures ORDER BY id').all()
      return rows.map(({ id, tombstone }) => ({ id: Number(id), tombstone: Number(tombstone) }))
    },
    records() {
      const reasons = RECORDED_REASONS.map(reason => `'${reason}'`).join(', ')
      return segments.flatMap(({ table }) => {
        const rows = db.prepare(
          `SELECT id, reason_code, metadata_json FROM ${table} WHERE action = 'SYSTEM' AND reason_code IN (${reasons}) ORDER BY id`,
        )
        return rows.all().map(({ id, reason_code, metadata_json }) => ({
          id: Number(id),
          reason: String(reason_code),
          metadata: typeof metadata_json === 'string' ? metadata_json : null,
        }))
      })
    },
    edgeTile(level) {
      const row = selectEdge.get(level)
      return row === undefined ? undefined : { index: Number(row.tile), hashes: bytesOf(row.hashes) }
    },
    rows(index, width) {
      const [first, last] = [index * TILE_WIDTH + 1, index * TILE_WIDTH + width]
      const within = segments.filter(segment => segment.first <= last && segment.last >= first)
      if (within.length === 0 && archives.some(archive => archive.first <= first && archive.last >= last))
        return undefined
      const [whole] = within.filter(segment => segment.first <= first && segment.last >= last)
      const bundle = selectBundle.get(index)
      return {
        salts: saltsIn(bundle, width),
        commitments: width < TILE_WIDTH && bundle?.commitments instanceof Uint8Array ? bundle.commitments : undefined,
        text: () => (whole && within.length === 1 ? readText(statementsOf(whole.table).text, first, last) : undefined),
        values: () =>
          within.flatMap(({ table, ...segment }) => {
            const [from, to] = [Math.max(first, segment.first), Math.min(last, segment.last)]
            return readValues(statementsOf(table).values, from, to)
          }),
      }
    },
    [Symbol.dispose]() {
      if (db.isOpen) db.close()
    },
  }
}

/** As they are stored, or made of their seed. */
function saltsIn(bundle: Record<string, unknown> | undefined, width: number): Uint8Array {
  const seed = bundle?.seed
  return seed instanceof Uint8Array ? saltsOfSeed(seed).subarray(0, width * SALT_BYTES) : bytesOf(bundle?.salts)
}

function readSegments(db: DatabaseSync): Segment[] {
  const rows = db.prepare('SELECT segment, table_name, first_id, last_id FROM event_segments ORDER BY segment').all()
  return rows.map(row => {
    const table = String(row.table_name)
    if (!TABLE_NAME.test(table)) throw new UnreadableSource('event_segments names a table that is none of events')
    const last = row.last_id === null ? Number.POSITIVE_INFINITY : Number(row.last_id)
    return { number: Number(row.segment), table, first: Number(row.first_id), last }
  })
}

function readArchives(db: DatabaseSync): ArchiveRow[] {
  const rows = db
    .prepare('SELECT number, first_id, last_id, file, manifest_sha256 FROM event_archives ORDER BY number')
    .all()
  return rows.map(row => ({
    number: Number(row.number),
    first: Number(row.first_id),
    last: Number(row.last_id),
    file: String(row.file),
    manifestSha256: String(row.manifest_sha256),
  }))
}

/** Undefined when SQLite makes no JSON of a row, as when a column holds bytes. */
function readText(statement: StatementSync, first: number, last: number): RowText | undefined {
  try {
    const { entries, privates, bytes } = statement.get(first, last) ?? {}
    const isText = entries instanceof Uint8Array && privates instanceof Uint8Array && bytes === 0
    return isText ? { entries: bufferOf(entries), privates: bufferOf(privates) } : undefined
  } catch {
    return undefined
  }
}

/** Looks for bytes four times as fast. */
const bufferOf = ({ buffer, byteOffset, length }: Uint8Array) => Buffer.from(buffer, byteOffset, length)

function readValues(statement: StatementSync, first: number, last: number): FoundRow[] {
  try {
    return statement.all(first, last) as unknown as FoundRow[]
  } catch (error) {
    if (!(error instanceof RangeError) && (error as { code?: unknown }).code !== 'ERR_OUT_OF_RANGE') throw error
    // A number that JavaScript does not hold exactly: no column has one unless somebody put it there.
    statement.setReadBigInts(true)
    const rows = statement.all(first, last) as unknown as (FoundRow & { id: unknown; status_code: unknown })[]
    statement.setReadBigInts(false)
    return rows.map(row => ({ ...row, id: Number(row.id), status_code: exactOf(row.status_code) }))
  }
}

function exactOf(value: unknown): unknown {
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
}

function bytesOf(value: unknown): Uint8Array {
  return value instanceof Uint8Array ? value : new Uint8Array()
}

function countOf(value: unknown): number {
  const count = Number(value)
  if (!Number.isSafeInteger(count) || count < 0) throw new UnreadableSource('log_head holds no size')
  return count
}
