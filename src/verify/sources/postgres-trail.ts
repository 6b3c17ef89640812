/**
 * A PostgreSQL database as a source: rows, tiles, salts, signed checkpoints and keys, all of one moment, whoever writes meanwhile.
 * Needs no more than to read the tables that are named here (docs/postgresql.md has the grants).
 *
 * While it is open the server keeps what was deleted or updated since; that is little, as nothing of a trail is.
 */
import { dirname } from 'node:path'
import { EMPTY_ROOT } from '../../evidence/merkle.ts'
import type { Tile } from '../../evidence/tile.ts'
import { TILE_WIDTH } from '../../evidence/tile.ts'
import { LIMITS } from '../../limits.ts'
import { PostgresError } from '../../postgres/postgres-error.ts'
import { type ArchiveClaim, type EvidenceSource, type Overview, RECORDED_REASONS } from '../source.ts'
import { claimOf } from './archive-claims.ts'
import { LEAVES_FOR_WORKERS_MIN, type SourceOptions } from './data-folder.ts'
import { UnreadableSource } from './log-database.ts'
import { createPostgresBundles, nameOf, readEdge, readTiles } from './postgres-bundles.ts'
import { findHiddenRanges, findUnreachable } from './postgres-reach.ts'
import { openSnapshot, type Snapshot } from './postgres-snapshot.ts'
import { startWorkers } from './worker-pool.ts'

/** What a role needs to read. */
export const TABLES = [
  'audit_events',
  'event_partitions',
  'event_times',
  'log_head',
  'log_edge',
  'log_tiles',
  'log_salts',
  'log_erasures',
  'event_archives',
  'log_checkpoints',
  'log_key_chain',
  'log_witnessed',
] as const
const INSUFFICIENT_PRIVILEGE = '42501'
const FILE_CHARACTERS_MAX = 4_096
/** Made by the first instance that signs. */
const OF_SIGNERS: readonly string[] = ['log_checkpoints', 'log_key_chain', 'log_witnessed']
/** Those, and what a schema of before there were archives has not. */
const OPTIONAL: readonly string[] = [...OF_SIGNERS, 'event_archives']

/** @throws {UnreadableSource} there is no log in it. @throws {PostgresError} it cannot be reached */
export async function openPostgresTrail(url: string, { workers = 2 }: SourceOptions = {}): Promise<EvidenceSource> {
  await using undo = new AsyncDisposableStack()
  const snapshot = undo.use(await openSnapshot(url))
  const hasSigned = await checkTables(snapshot)
  const overview = await readOverview(snapshot, hasSigned)
  const edge = await readEdge(snapshot)
  const upper = await readTiles(snapshot, 'level >= 2')
  const size = overview.head?.size ?? 0
  const spec = { kind: 'PostgreSQL', url, snapshot: snapshot.name } as const
  const isLarge = size >= LEAVES_FOR_WORKERS_MIN
  const pool = isLarge && workers > 0 ? undo.use(startWorkers(spec, workers)) : undefined
  const left = overview.rows?.archives ?? []
  const bundles = pool ?? createPostgresBundles(snapshot, edge, left)
  const owned = undo.move()
  return {
    overview,
    parallel: pool?.size ?? 0,
    checkRange: bundles.checkRange,
    readTile({ level, index, width }: Tile) {
      if (level === 'entries') return undefined
      const partial = edge.get(level)
      if (width < TILE_WIDTH) return partial?.index === index ? partial.hashes : undefined
      return upper.get(nameOf(level, index))
    },
    lookFurther: () => findUnreachable(snapshot, { hidden: overview.rows?.hidden ?? [], left, size }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

/** Asked before, as a statement that fails ends the transaction. @returns whether anything was ever signed */
async function checkTables(snapshot: Snapshot): Promise<boolean> {
  const found = await snapshot.rows(
    `SELECT name, c.relkind AS kind, c.oid IS NOT NULL AND has_table_privilege(c.oid, 'SELECT') AS readable,
       c.oid IS NOT NULL AND row_security_active(c.oid) AS filtered
     FROM unnest($1::text[]) WITH ORDINALITY AS wanted (name, place) LEFT JOIN pg_class c ON c.oid = to_regclass(name)
     ORDER BY place`,
    [TABLES],
  )
  const missing = found.filter(({ kind, name }) => kind === null && !OPTIONAL.includes(String(name)))
  if (missing.length > 0) {
    throw new UnreadableSource(`the database has no table ${namesOf(missing)}, so there is no log in it`)
  }
  const forbidden = found.filter(({ kind, readable }) => kind !== null && readable !== true)
  if (forbidden.length > 0) {
    const message = `this role may not read ${namesOf(forbidden)}; docs/postgresql.md has the grants`
    throw new PostgresError('UNAVAILABLE', message, { sqlState: INSUFFICIENT_PRIVILEGE })
  }
  const filtered = found.filter(table => table.filtered === true)
  if (filtered.length > 0) throw new UnreadableSource(`row security hides rows of ${namesOf(filtered)} from this role`)
  if (found.find(({ name }) => name === 'audit_events')?.kind !== 'p') {
    throw new UnreadableSource('audit_events is no partitioned table')
  }
  return OF_SIGNERS.every(name => found.some(table => table.name === name && table.kind !== null))
}

const namesOf = (tables: readonly Record<string, unknown>[]) => tables.map(({ name }) => String(name)).join(', ')

async function readOverview(snapshot: Snapshot, hasSigned: boolean): Promise<Overview> {
  const last = await snapshot.rows('SELECT max(id)::bigint AS id FROM audit_events')
  return {
    kind: 'PostgreSQL',
    head: await readHead(snapshot),
    ...(hasSigned ? await readSigned(snapshot) : NOTHING_SIGNED),
    rows: {
      lastId: Number(last[0]?.id ?? 0),
      hidden: await findHiddenRanges(snapshot),
      archives: await readArchives(snapshot),
      erasures: await readErasures(snapshot),
      areErasuresOfSome: false,
      records: await readRecords(snapshot),
    },
  }
}

async function readHead(snapshot: Snapshot): Promise<Overview['head']> {
  const limit = 'octet_length(root) <= 1024 AND octet_length(edge) <= 8192'
  const [row] = await snapshot.rows(
    `SELECT size::bigint, root::bytea, edge::bytea FROM log_head WHERE ${limit} LIMIT 1`,
  )
  if (row === undefined) return { size: 0, root: EMPTY_ROOT, edge: new Uint8Array(), syncedSize: 0 }
  const size = Number(row.size)
  if (!Number.isSafeInteger(size) || size < 0) throw new UnreadableSource('log_head holds no size')
  // Everything of a batch is one transaction: there is nothing that a power loss takes alone.
  return { size, root: row.root as Uint8Array, edge: row.edge as Uint8Array, syncedSize: size }
}

const NOTHING_SIGNED = { checkpoint: undefined, witnessed: undefined, history: undefined, keys: undefined }

/** By the sizes that they are stored under; whether these are theirs is told in postgres-reach.ts. */
async function readSigned(snapshot: Snapshot): Promise<Pick<Overview, keyof typeof NOTHING_SIGNED>> {
  const limit = `left(note, ${LIMITS.noteCharactersMax})`
  const rows = await snapshot.rows(`SELECT ${limit} AS note FROM log_checkpoints ORDER BY size`)
  const notes = rows.map(({ note }) => String(note))
  const checkpoint = notes.pop()
  const chain = await snapshot.rows(
    `SELECT left(chain, ${LIMITS.keyChainBytesMax}) AS chain FROM log_key_chain LIMIT 1`,
  )
  const [keys] = chain.map(row => String(row.chain))
  const [witnessed] = await snapshot.rows(`SELECT ${limit} AS note FROM log_witnessed LIMIT 1`)
  return {
    checkpoint,
    witnessed: witnessed && String(witnessed.note),
    history: notes.map(note => `${JSON.stringify(note)}\n`).join(''),
    keys,
  }
}

/** Where they were written to may be on another machine, or here. */
async function readArchives(snapshot: Snapshot): Promise<ArchiveClaim[]> {
  const [there] = await snapshot.rows("SELECT to_regclass('event_archives') IS NOT NULL AS is")
  if (there?.is !== true) return []
  const rows = await snapshot.rows(
    `SELECT number::bigint, first_id::bigint AS first, last_id::bigint AS last, left(file, ${FILE_CHARACTERS_MAX}) AS file,
       left(manifest_sha256, 64) AS manifest FROM event_archives ORDER BY number`,
  )
  return rows.map(({ number, first, last, file, manifest }) => {
    const range = { number: Number(number), first: Number(first), last: Number(last) }
    return claimOf({ ...range, file: String(file), manifestSha256: String(manifest) }, [dirname(String(file))])
  })
}

async function readErasures(snapshot: Snapshot) {
  const rows = await snapshot.rows('SELECT id::bigint, tombstone::bigint FROM log_erasures ORDER BY id')
  return rows.map(({ id, tombstone }) => ({ id: Number(id), tombstone: Number(tombstone) }))
}

async function readRecords(snapshot: Snapshot) {
  const rows = await snapshot.rows(
    `SELECT id::bigint, reason_code, left(metadata_json, ${LIMITS.recordBytesMax}) AS metadata FROM audit_events
     WHERE action = 'SYSTEM' AND reason_code = ANY ($1::text[]) ORDER BY id`,
    [RECORDED_REASONS],
  )
  return rows.map(({ id, reason_code, metadata }) => ({
    id: Number(id),
    reason: String(reason_code),
    metadata: typeof metadata === 'string' ? metadata : null,
  }))
}
