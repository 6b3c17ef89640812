/**
 * Whether the service's questions reach every row that is stored in a PostgreSQL: through the partitions of `audit_events` and their
 * list, up to the head, and through the indexes (postgres-indexes.ts). And what is stored of the log beyond the log.
 *
 *   event_partitions   number, table_name, first_id, last_id: questions begin at the first id of the first one
 *
 * An index or a partition's entry for ids that do not exist hides nothing; a missing index makes questions slow, and hides nothing.
 */
import { SALT_BYTES } from '../../evidence/leaf.ts'
import { countAt } from '../../evidence/tile.ts'
import type { RowsOverview } from '../source.ts'
import type { Finding } from '../verdict.ts'
import type { Ids } from './postgres-bundles.ts'
import { findHiddenByIndexes } from './postgres-indexes.ts'
import type { Snapshot } from './postgres-snapshot.ts'
import { numberAt, parseTuples } from './postgres-tuples.ts'

type HiddenRange = RowsOverview['hidden'][number]

/** Tables that are made as partitions are, attached or not; names go into SQL only if they are of this form. */
const TABLES = `SELECT c.relname AS name, i.inhparent IS NOT NULL AND NOT i.inhdetachpending AS attached,
    pg_get_expr(c.relpartbound, c.oid) AS bound, has_table_privilege(c.oid, 'SELECT') AS readable,
    p.first_id::bigint AS first, p.last_id::bigint AS last, p.number IS NOT NULL AS listed
  FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND i.inhparent = 'audit_events'::regclass
    LEFT JOIN event_partitions p ON p.table_name = c.relname
  WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'audit_events'::regclass)
    AND (c.relname ~ '^audit_events_[1-9][0-9]*$' OR i.inhparent IS NOT NULL) ORDER BY c.relname`
const NAME = /^audit_events_[1-9][0-9]*$/
const BOUND = /^FOR VALUES FROM \('([0-9]+)'\) TO \('([0-9]+)'\)$/

/** Rows in tables that are no partitions any more. A table that may not be read has the ids that are listed of it. */
export async function findHiddenRanges(snapshot: Snapshot): Promise<HiddenRange[]> {
  const ranges: HiddenRange[] = []
  for (const { name, attached, readable, first, last, listed } of await snapshot.rows(TABLES)) {
    if (attached === true || !NAME.test(String(name))) continue
    const detail = `It is in ${name}, which is no partition of audit_events`
    const found =
      readable === true ? await idsIn(snapshot, String(name)) : listed === true ? { first, last } : undefined
    if (typeof found?.first === 'number') ranges.push({ first: found.first, last: Number(found.last), detail })
  }
  return ranges
}

/** Undefined when it is no table of events. */
async function idsIn(snapshot: Snapshot, table: string): Promise<Record<string, unknown> | undefined> {
  const column = `SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'id' AND atttypid = 'bigint'::regtype`
  if ((await snapshot.rows(column, [table])).length === 0) return undefined
  return (await snapshot.rows(`SELECT min(id) AS first, max(id) AS last FROM ${table}`))[0]
}

/** @param state.left ranges that are in archives */
export async function findUnreachable(
  snapshot: Snapshot,
  {
    hidden,
    left,
    size,
  }: { readonly hidden: readonly HiddenRange[]; readonly left: readonly Ids[]; readonly size: number },
): Promise<Finding[]> {
  const before = endOf(left)
  const findings = [
    ...(await findBeyond(snapshot, size)),
    ...(await findUnlisted(snapshot)),
    ...(await findFiltered(snapshot)),
    ...(await findStrayTiles(snapshot, size)),
    ...(await findStraySalts(snapshot, { before, size })),
    ...(await findStrayCheckpoints(snapshot)),
    ...(await findHiddenByIndexes(snapshot)),
  ]
  for (const { first, last } of hidden) {
    const sql = 'SELECT min(id)::bigint AS id FROM audit_events WHERE id BETWEEN $1 AND $2'
    const id = (await snapshot.rows(sql, [first, Math.min(last, size)]))[0]?.id
    if (typeof id === 'number') findings.push(inserted(id, 'Its id is stored twice'))
  }
  return findings
}

const inserted = (id: number, detail: string): Finding => ({ verdict: 'INSERTED', at: { id }, detail })

/** Rows that no leaf can be of. */
async function findBeyond(snapshot: Snapshot, size: number): Promise<Finding[]> {
  const findings: Finding[] = []
  const sql = 'SELECT min(id)::bigint AS id FROM audit_events WHERE id'
  const beyond = (await snapshot.rows(`${sql} > $1`, [size]))[0]?.id
  if (typeof beyond === 'number') findings.push(inserted(beyond, 'It is behind the end of the log'))
  const below = (await snapshot.rows(`${sql} < 1`))[0]?.id
  if (typeof below === 'number') findings.push(inserted(below, 'Ids count from 1'))
  return findings
}

/** Partitions of which the list says other ids than they have: questions begin where the list does. */
async function findUnlisted(snapshot: Snapshot): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const { name, attached, bound, first, last } of await snapshot.rows(TABLES)) {
    if (attached !== true) continue
    const [, from, to] = BOUND.exec(String(bound)) ?? []
    if (from !== undefined && first === Number(from) && last === Number(to) - 1) continue
    const detail = `event_partitions does not say of ${name} which ids it has`
    findings.push({ verdict: 'HIDDEN', at: { id: Number(from ?? 1) }, detail })
  }
  return findings
}

/** Others may be shown less than this role, which is not subject to it. */
async function findFiltered(snapshot: Snapshot): Promise<Finding[]> {
  const sql = `SELECT 1 FROM pg_class WHERE oid = 'audit_events'::regclass AND relrowsecurity`
  if ((await snapshot.rows(sql)).length === 0) return []
  const at = { part: 'a part of audit_events' }
  return [
    { verdict: 'HIDDEN', at, detail: 'Row security is on for the table, so a role may be shown less than there is' },
  ]
}

const ENTRIES = -1

/** Tiles that the log does not reach: the next rows could not be written. */
async function findStrayTiles(snapshot: Snapshot, size: number): Promise<Finding[]> {
  const rows = await snapshot.rows(
    'SELECT level, min(tile)::bigint AS first, max(tile)::bigint AS last FROM log_tiles GROUP BY level ORDER BY level',
  )
  return rows.flatMap(({ level, first, last }): Finding[] => {
    const full = Number(level) < ENTRIES ? 0 : Math.floor(countAt(Math.max(0, Number(level)), size) / 256)
    if (Number(first) >= 0 && Number(last) < full) return []
    const name = `${Number(level) === ENTRIES ? 'entries' : level}/${Number(first) < 0 ? first : last}`
    return [{ verdict: 'INSERTED', at: { part: `the tile ${name}` }, detail: 'The log does not reach it' }]
  })
}

/** What leaves are the oldest events, so archives follow on each other from the first. @returns the last id that has left so */
export function endOf(left: readonly Ids[]): number {
  let end = 0
  for (const { first, last } of left.toSorted((a, b) => a.first - b.first)) if (first === end + 1) end = last
  return end
}

/** Batches follow on each other from the first event that is there to the head, and each has a salt for each of its rows. */
async function findStraySalts(
  snapshot: Snapshot,
  { before, size }: { readonly before: number; readonly size: number },
): Promise<Finding[]> {
  const select =
    'SELECT first_id::bigint, last_id::bigint, octet_length(salts)::bigint FROM log_salts ORDER BY first_id'
  const found = parseTuples(await snapshot.copy(select), 3)
  let through = before
  for (let n = 0; n < found.count; n++) {
    const [first, last, bytes] = [numberAt(found, n, 0), numberAt(found, n, 1), numberAt(found, n, 2)]
    if (first !== through + 1 || last < first || bytes !== (last - first + 1) * SALT_BYTES || last > size) {
      const id = Math.max(1, Math.min(first, through + 1))
      return [{ verdict: 'EDITED', at: { id }, detail: 'The batches of salts do not follow on each other' }]
    }
    through = last
  }
  return through === size ? [] : [{ verdict: 'EDITED', at: { id: through + 1 }, detail: 'It has no salt' }]
}

/** What is stored under a size has to be of it: the newest one is looked for by that. */
async function findStrayCheckpoints(snapshot: Snapshot): Promise<Finding[]> {
  const there = await snapshot.rows("SELECT to_regclass('log_checkpoints') IS NOT NULL AS is")
  if (there[0]?.is !== true) return []
  const sql = `SELECT size::bigint AS size FROM log_checkpoints
    WHERE split_part(note, E'\\n', 2) <> size::text ORDER BY size LIMIT 1`
  const [stray] = await snapshot.rows(sql)
  if (stray === undefined) return []
  return [
    { verdict: 'EDITED', at: { size: Number(stray.size) }, detail: 'What is stored under this size is of another' },
  ]
}
