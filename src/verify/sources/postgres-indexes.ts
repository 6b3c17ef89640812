/**
 * Whether the indexes of `audit_events` have an entry for each row, under the value that the row has.
 *
 * An index is never asked for each row, as that takes longer than everything else. The server adds up a hash of each value, once
 * over the rows as they lie and once over the entries of the index; a row without an entry, an entry without a row, and an entry of
 * another value make another sum. The hash is drawn anew each time, so nobody can prepare entries that add up.
 *
 * The rows are read without any index, the entries by a question that only that index answers. Where it is missing, questions do
 * without it too, and nothing is hidden. What is compared is what questions are asked by; rows without a value are none of these.
 */
import { randomInt } from 'node:crypto'
import type { Finding } from '../verdict.ts'
import type { Snapshot } from './postgres-snapshot.ts'

const COLUMNS = ['date_time', 'who', 'ip', 'action', 'severity', 'reason_code', 'request_id'] as const
const CHUNK_IDS = 1_024

/** The server's planner is told what it may not do; of two ways that are left it may take either. */
const WITHOUT_INDEXES =
  'SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off'
const BY_INDEXES =
  'SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on; SET LOCAL enable_bitmapscan = off'
/** Then the rows come by way of the index, with their ids. */
const TO_ROWS = `${BY_INDEXES}; SET LOCAL enable_indexonlyscan = off`
const AS_BEFORE =
  'SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_indexscan TO DEFAULT; SET LOCAL enable_indexonlyscan TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT'

export async function findHiddenByIndexes(snapshot: Snapshot): Promise<Finding[]> {
  const seed = randomInt(2 ** 47)
  const sums = COLUMNS.map(column => `count(${column}) AS n_${column}, ${sumOf(column, seed)} AS sum_${column}`)
  const ofIds = `count(*) AS n_id, sum(hashint8extended(id, ${seed}))::text AS sum_id`
  await set(snapshot, WITHOUT_INDEXES)
  const [rows = {}] = await snapshot.rows(`SELECT ${ofIds}, ${sums.join(', ')} FROM audit_events`)
  await set(snapshot, BY_INDEXES)
  const bad: string[] = []
  const [ids = {}] = await snapshot.rows(`SELECT ${ofIds} FROM audit_events WHERE id >= 0`)
  if (ids.n_id !== rows.n_id || ids.sum_id !== rows.sum_id) bad.push('id')
  for (const column of COLUMNS) {
    const select = `SELECT count(*) AS n, ${sumOf(column, seed)} AS sum FROM audit_events WHERE ${column} >= ''`
    const [entries = {}] = await snapshot.rows(select)
    if (entries.n !== rows[`n_${column}`] || entries.sum !== rows[`sum_${column}`]) bad.push(column)
  }
  const findings: Finding[] = []
  for (const column of bad) findings.push(await locate(snapshot, column))
  await set(snapshot, AS_BEFORE)
  return findings
}

const sumOf = (column: string, seed: number) => `sum(hashtextextended(${column}, ${seed}))::text`

async function set(snapshot: Snapshot, settings: string): Promise<void> {
  for (const setting of settings.split('; ')) await snapshot.rows(setting)
}

/** The first row that the index does not lead to; that an entry is of another value is only known of the index as a whole. */
async function locate(snapshot: Snapshot, column: string): Promise<Finding> {
  const any = column === 'id' ? 'id >= 0' : `${column} >= ''`
  const name = column === 'id' ? 'the primary key' : `the index of ${column}`
  const detail = `A question by ${name} does not find it`
  const counts = `SELECT ((id - 1) / ${CHUNK_IDS})::bigint AS chunk, count(*) AS n FROM audit_events WHERE ${any} GROUP BY 1`
  const ids = (chunk: number) =>
    `SELECT id::bigint AS id FROM audit_events WHERE ${any} AND (id - 1) / ${CHUNK_IDS} = ${chunk} ORDER BY 1`

  await set(snapshot, WITHOUT_INDEXES)
  const stored = await snapshot.rows(`${counts} ORDER BY 1`)
  await set(snapshot, TO_ROWS)
  const reached = new Map((await snapshot.rows(counts)).map(({ chunk, n }) => [chunk, n]))
  const odd = stored.find(({ chunk, n }) => reached.get(chunk) !== n)
  if (odd === undefined) {
    return { verdict: 'HIDDEN', at: { part: 'some event' }, detail: `Of ${name} an entry is of another value` }
  }
  const found = new Set((await snapshot.rows(ids(Number(odd.chunk)))).map(({ id }) => id))
  await set(snapshot, WITHOUT_INDEXES)
  const inChunk = await snapshot.rows(ids(Number(odd.chunk)))
  const missing = inChunk.find(({ id }) => !found.has(id)) ?? inChunk[0]
  return { verdict: 'HIDDEN', at: { id: Number(missing?.id ?? 1) }, detail }
}
