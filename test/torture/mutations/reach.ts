/** Rows that stay where they are, and that queries do not find any more. */
import type { DatabaseSync } from 'node:sqlite'
import { formatSet, parseSet } from '../../../src/store/chunk-sets.ts'
import { listSegments } from '../../../src/store/segments.ts'
import type { Mutation } from '../log-mutations.ts'
import type { Random } from '../random.ts'
import { insert, rowOf, segmentOf, spoil } from './database.ts'

const INDEXED = ['date_time', 'who', 'action', 'ip', 'severity', 'request_id'] as const

export const REACH_MUTATIONS: Readonly<Record<string, Mutation>> = {
  'index: without the entry of a row'({ path, ground, random }) {
    const id = random.between(ground.firstId, ground.size)
    const column = random.pick(INDEXED)
    const { row, table, number } = spoil(path, db => {
      const segment = segmentOf(db, id)
      const row = rowOf(db, id)
      db.exec(`DELETE FROM ${segment.table} WHERE id = ${id}`)
      return { row, ...segment }
    })
    withoutIndex(path, indexName(column, number), db => insert(db, table, row))
    return { verdicts: ['HIDDEN'], id }
  },
  'index: entries of two values in the place of each other, whose ids add up'({ path, ground, random }) {
    const column = random.pick(['who', 'ip'] as const)
    const { table, number } = spoil(path, db => segmentOf(db, random.between(ground.firstId, ground.size)))
    const found = spoil(path, db => findSameSums(db, table, column))
    if (found === undefined) return undefined
    const [one, other] = found
    const set = (db: DatabaseSync, ids: readonly number[], value: string) =>
      db.prepare(`UPDATE ${table} SET ${column} = ? WHERE id IN (${ids.join(', ')})`).run(value)
    spoil(path, db => {
      set(db, one.ids, other.value)
      set(db, other.ids, one.value)
    })
    withoutIndex(path, indexName(column, number), db => {
      set(db, one.ids, one.value)
      set(db, other.ids, other.value)
    })
    return { verdicts: ['HIDDEN'], id: Math.min(...one.ids, ...other.ids) }
  },
  'index: dropped'({ path, ground, random }) {
    const id = random.between(ground.firstId, ground.size)
    const { number, firstId } = spoil(path, db => segmentOf(db, id))
    spoil(path, db => db.exec(`DROP INDEX ${indexName(random.pick(INDEXED), number)}`))
    return { verdicts: ['HIDDEN'], id: firstId }
  },
  'segment: its table gone'({ path, random }) {
    const { table, firstId } = random.pick(spoil(path, listSegments))
    if (spoil(path, db => db.prepare(`SELECT 1 FROM ${table}`).get()) === undefined) return undefined
    spoil(path, db => db.exec(`DROP TABLE ${table}`))
    return { verdicts: ['DELETED', 'TRUNCATED'], id: firstId }
  },
  'segment: not listed'({ path, random }) {
    const segments = spoil(path, listSegments)
    if (segments.length < 2) return undefined
    const { number, firstId } = random.pick(segments)
    spoil(path, db => db.exec(`DELETE FROM event_segments WHERE segment = ${number}`))
    return { verdicts: ['HIDDEN'], id: firstId }
  },
  'segment: said to end earlier'({ path, random }) {
    const full = spoil(path, listSegments).filter(({ lastId }) => lastId !== undefined)
    if (full.length === 0) return undefined
    const { number, firstId, lastId } = random.pick(full)
    const last = random.between(firstId, lastId! - 1)
    spoil(path, db => db.exec(`UPDATE event_segments SET last_id = ${last} WHERE segment = ${number}`))
    return { verdicts: ['HIDDEN'], id: last + 1 }
  },
  'segment: said to begin later'({ path, ground, random }) {
    const { number, firstId, lastId = ground.size } = random.pick(spoil(path, listSegments))
    if (lastId === firstId) return undefined
    const first = random.between(firstId + 1, lastId)
    spoil(path, db => db.exec(`UPDATE event_segments SET first_id = ${first} WHERE segment = ${number}`))
    return { verdicts: ['HIDDEN'], id: firstId }
  },
  'chunk: of other times'({ path, random }) {
    const chunk = anyChunk(path, random)
    if (chunk === undefined) return undefined
    const [column, beyond] = random.pick([
      ['min_ms', '<'],
      ['max_ms', '>'],
    ] as const)
    const [first, last] = [chunk * 1_024 + 1, chunk * 1_024 + 1_024]
    const id = spoil(path, db => {
      const { table } = segmentOf(db, first)
      const { date_time } = rowOf(db, random.between(first + 1, last - 1))
      db.exec(`UPDATE event_chunks SET ${column} = ${Date.parse(date_time)} WHERE chunk = ${chunk}`)
      const outside = db.prepare(
        `SELECT min(id) AS id FROM ${table} WHERE id BETWEEN ? AND ? AND date_time ${beyond} ?`,
      )
      return outside.get(first, last, date_time)?.id
    })
    return typeof id === 'number' ? { verdicts: ['HIDDEN'], id } : undefined
  },
  'chunk: gone'({ path, random }) {
    const chunk = anyChunk(path, random)
    if (chunk === undefined) return undefined
    spoil(path, db => db.exec(`DELETE FROM event_chunks WHERE chunk = ${chunk}`))
    return { verdicts: ['HIDDEN'], id: chunk * 1_024 + 1 }
  },
  'chunk: a table of them gone'({ path, random }) {
    if (anyChunk(path, random) === undefined) return undefined
    spoil(path, db => db.exec(`DROP TABLE ${random.pick(['event_chunks', 'event_facets'])}`))
    return { verdicts: ['HIDDEN'] }
  },
  'chunk: a set without a row'({ path, random }) {
    const chunk = anyChunk(path, random)
    if (chunk === undefined) return undefined
    const id = random.between(chunk * 1_024 + 1, chunk * 1_024 + 1_024)
    const facet = random.between(0, 2)
    spoil(path, db => {
      const row = rowOf(db, id)
      const value = [row.action, row.severity, row.reason_code][facet]!
      const set = parseSet(
        db.prepare('SELECT ids FROM event_facets WHERE facet = ? AND value = ? AND chunk = ?').get(facet, value, chunk)!
          .ids as Uint8Array,
      )
      const n = (id - 1) % 1_024
      set[n >>> 5]! &= ~(1 << (n & 31))
      db.prepare('UPDATE event_facets SET ids = ? WHERE facet = ? AND value = ? AND chunk = ?').run(
        formatSet(set),
        facet,
        value,
        chunk,
      )
    })
    return { verdicts: ['HIDDEN'], id }
  },
  'view: without a row'({ path, ground, random }) {
    const id = random.between(ground.firstId, ground.size)
    return redefine(path, sql => `${sql.replace('AS\n', 'AS SELECT * FROM (\n')}) WHERE id <> ${id}`, id)
  },
  'view: another value'({ path, ground, random }) {
    const id = random.between(ground.firstId, ground.size)
    const value = `CASE WHEN id = ${id} THEN 'nobody' ELSE who END AS who`
    return redefine(path, sql => sql.replaceAll(', who,', `, ${value},`), id)
  },
  'view: without a segment'({ path, random }) {
    const segments = spoil(path, listSegments)
    if (segments.length < 3) return undefined
    const { firstId, table } = segments[random.between(1, segments.length - 1)]!
    return redefine(path, sql => sql.replace(new RegExp(`UNION ALL\nSELECT [^\n]* FROM ${table}(?=\n|$)`), ''), firstId)
  },
}

const indexName = (column: string, segment: number) =>
  segment === 1 ? `idx_audit_${column}` : `idx_audit_${column}_${segment}`

/** Writes rows while an index is not in the schema, so that its entries stay as they are. */
function withoutIndex(path: string, index: string, write: (db: DatabaseSync) => void): void {
  const schema = spoil(path, db => {
    const found = { ...db.prepare('SELECT * FROM sqlite_schema WHERE name = ?').get(index) }
    db.exec(`PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = '${index}'`)
    return found
  })
  spoil(path, write)
  spoil(path, db => {
    db.exec('PRAGMA writable_schema = ON')
    const { type, name, tbl_name, rootpage, sql } = schema
    db.prepare('INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)').run(
      type as string,
      name as string,
      tbl_name as string,
      rootpage as number,
      sql as string,
    )
  })
}

interface Pair {
  readonly value: string
  readonly ids: readonly [number, number]
}

/** Two rows of one value and two of another, with the same sum of their ids. */
function findSameSums(db: DatabaseSync, table: string, column: string): readonly [Pair, Pair] | undefined {
  const rows = db.prepare(`SELECT id, ${column} AS value FROM ${table} ORDER BY id LIMIT 100`).all()
  const pairs = new Map<number, Pair>()
  for (const a of rows) {
    for (const b of rows) {
      if (a.value !== b.value || Number(a.id) >= Number(b.id)) continue
      const pair: Pair = { value: String(a.value), ids: [Number(a.id), Number(b.id)] }
      const sum = pair.ids[0] + pair.ids[1]
      const other = pairs.get(sum)
      if (other !== undefined && other.value !== pair.value) return [other, pair]
      pairs.set(sum, pair)
    }
  }
  return undefined
}

/** One that is kept of 1,024 rows. */
function anyChunk(path: string, random: Random): number | undefined {
  const chunks = spoil(path, db => db.prepare('SELECT chunk FROM event_chunks').all()).map(({ chunk }) => Number(chunk))
  return chunks.length === 0 ? undefined : random.pick(chunks)
}

function redefine(path: string, change: (sql: string) => string, id: number) {
  const sql = spoil(
    path,
    db => db.prepare("SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = 'audit_events'").get()?.sql,
  )
  if (typeof sql !== 'string') return undefined
  spoil(path, db => db.exec(`DROP VIEW audit_events; ${change(sql)}`))
  return { verdicts: ['HIDDEN'], id } as const
}
