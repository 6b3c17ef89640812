/** Rows: what an intruder does with SQL. */
import type { DatabaseSync } from 'node:sqlite'
import type { COLUMNS, StoredEvent } from '../../../src/event/event.ts'
import { readBundleSalts } from '../../../src/store/log-store.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import type { Ground } from '../log-grounds.ts'
import type { Expected, Mutation, Place } from '../log-mutations.ts'
import { TEXTS } from '../outcome.ts'
import type { Random } from '../random.ts'
import { insert, overwrite, rowOf, segmentOf, spoil } from './database.ts'

const HOUR_MS = 3_600_000

const anyId = ({ ground: { firstId, size }, random }: Place) => random.between(firstId, size)

/** Of a bundle whose entries are in a file: there the log still says what the row was. */
const hasEntry = ({ size }: Ground, id: number) => id <= size - (size % 256)

export const isErased = ({ shape }: Ground, id: number) => shape.erased.includes(id)

function edit(column: (typeof COLUMNS)[number], change: (row: StoredEvent, random: Random) => unknown): Mutation {
  return place => {
    const id = anyId(place)
    spoil(place.path, db => {
      const row = rowOf(db, id)
      overwrite(db, id, { ...row, [column]: change(row, place.random) })
    })
    return { verdicts: ['EDITED'], id }
  }
}

const otherText = (text: string | null) =>
  text === null ? 'x' : `${text.slice(0, -1)}${text.endsWith('~') ? '!' : '~'}`

function moveTime(column: 'date_time' | 'created_at', ms: number): Mutation {
  return place => {
    const id = anyId(place)
    spoil(place.path, db => {
      const row = rowOf(db, id)
      overwrite(db, id, { ...row, [column]: new Date(Date.parse(row[column]) + ms).toISOString() })
    })
    return { verdicts: [ms < 0 && hasEntry(place.ground, id) ? 'BACK_DATED' : 'EDITED'], id }
  }
}

const edits = Object.fromEntries(
  TEXTS.map(column => [`row: ${column} edited`, edit(column, row => otherText(row[column]))] as const),
)

/** Two events whose content differs and was not erased, in one order. */
function twoIds(place: Place): [number, number] | undefined {
  for (let tries = 0; tries < 50; tries++) {
    const [a, b] = [anyId(place), anyId(place)].sort((x, y) => x - y) as [number, number]
    if (a < b && !isErased(place.ground, a) && !isErased(place.ground, b)) return [a, b]
  }
  return undefined
}

/** An id in the growing segment that has others behind it, none of them erased. */
function idWithFollowers({ path, ground, random }: Place): number | undefined {
  const first = spoil(path, db => segmentOf(db, ground.size).firstId)
  const from = Math.max(first, ...ground.shape.erased.map(id => id + 1))
  return from >= ground.size - 1 ? undefined : random.between(from, ground.size - 1)
}

export const ROW_MUTATIONS: Readonly<Record<string, Mutation>> = {
  ...edits,
  'row: status_code edited': edit('status_code', row => (row.status_code ?? 0) + 1),
  'row: text of another type': edit('description', (_, random) => new Uint8Array(random.between(1, 9)) as never),
  'row: text as JSONB': place => {
    const id = anyId(place)
    const column = place.random.pick(['who', 'description', 'action', 'severity'] as const)
    const isText = spoil(place.path, db => {
      const { table } = segmentOf(db, id)
      db.exec(`UPDATE ${table} SET ${column} = jsonb(json_quote(${column})) WHERE id = ${id}`)
      return db.prepare(`SELECT typeof(${column}) AS type FROM ${table} WHERE id = ${id}`).get()?.type !== 'blob'
    })
    return isText ? undefined : { verdicts: ['EDITED'], id }
  },
  'row: a number beyond what is exact': edit('status_code', () => (2n ** 60n) as never),
  'row: date_time earlier': moveTime('date_time', -HOUR_MS),
  'row: date_time later': moveTime('date_time', HOUR_MS),
  'row: created_at earlier': moveTime('created_at', -HOUR_MS),
  'row: created_at later': moveTime('created_at', HOUR_MS),
  'row: id edited'(place) {
    const id = anyId(place)
    const other = place.ground.size + place.random.between(1, 9)
    spoil(place.path, db =>
      db.exec(`UPDATE ${segmentOf(db, place.ground.size).table} SET id = ${other} WHERE id = ${id}`),
    )
    const isInLast = spoil(place.path, db => segmentOf(db, id).number === segmentOf(db, place.ground.size).number)
    return isInLast ? { verdicts: ['DELETED'], id } : undefined
  },
  'row: deleted'(place) {
    const id = anyId(place)
    spoil(place.path, db => db.exec(`DELETE FROM ${segmentOf(db, id).table} WHERE id = ${id}`))
    return { verdicts: [id === place.ground.size ? 'TRUNCATED' : 'DELETED'], id }
  },
  'row: deleted, the others moved up'(place) {
    const id = idWithFollowers(place)
    if (id === undefined) return undefined
    spoil(place.path, db => {
      const { table } = segmentOf(db, id)
      db.exec(`DELETE FROM ${table} WHERE id = ${id}; UPDATE ${table} SET id = -id WHERE id > ${id};
        UPDATE ${table} SET id = -id - 1 WHERE id < 0`)
    })
    return { verdicts: ['DELETED'], id }
  },
  'row: inserted, the others moved down'(place) {
    const id = idWithFollowers(place)
    if (id === undefined) return undefined
    spoil(place.path, db => {
      const { table } = segmentOf(db, id)
      db.exec(`UPDATE ${table} SET id = -id WHERE id >= ${id}; UPDATE ${table} SET id = -id + 1 WHERE id < 0`)
      insert(db, table, { ...sampleEvent(99_999), id, created_at: '2026-06-01T00:00:00.000Z' })
    })
    return { verdicts: ['INSERTED'], id }
  },
  'row: inserted at the end'(place) {
    const id = place.ground.size + 1
    spoil(place.path, db =>
      insert(db, segmentOf(db, id).table, { ...sampleEvent(id), id, created_at: '2026-06-01T00:00:00.000Z' }),
    )
    return { verdicts: ['INSERTED'], id }
  },
  'row: inserted before the first'(place) {
    const id = -place.random.between(0, 5)
    spoil(place.path, db => {
      const { table } = segmentOf(db, place.ground.firstId)
      insert(db, table, { ...sampleEvent(1), id, created_at: '2026-06-01T00:00:00.000Z' })
    })
    return { verdicts: ['INSERTED'], id }
  },
  'row: two exchanged': place => exchange(place, twoIds(place), false),
  'row: two exchanged with their salts': place => exchange(place, twoIds(place), true),
  'row: an erased one exchanged with another': place => exchange(place, erasedAndAnother(place), false),
  'row: overwritten by a copy of another'(place) {
    const ids = twoIds(place)
    if (ids === undefined) return undefined
    spoil(place.path, db => overwrite(db, ids[0], rowOf(db, ids[1])))
    return { verdicts: ['EDITED'], id: ids[0] }
  },
  'row: tail cut off'(place) {
    const id = anyId(place)
    spoil(place.path, db => {
      for (let last = place.ground.size; last >= id; ) {
        const { table, firstId } = segmentOf(db, last)
        db.exec(`DELETE FROM ${table} WHERE id >= ${id}`)
        last = firstId - 1
      }
    })
    return { verdicts: ['TRUNCATED'], id }
  },
}

/** Of an erased row only its entry says what it was, so that there has to be one. */
function erasedAndAnother(place: Place): [number, number] | undefined {
  const { ground, random } = place
  const erased = ground.shape.erased.filter(id => id >= ground.firstId && hasEntry(ground, id))
  const other = twoIds(place)?.find(id => hasEntry(ground, id))
  if (erased.length === 0 || other === undefined) return undefined
  return [random.pick(erased), other].sort((a, b) => a - b) as [number, number]
}

function exchange(place: Place, ids: [number, number] | undefined, withSalts: boolean): Expected | undefined {
  if (ids === undefined) return undefined
  const [a, b] = ids
  spoil(place.path, db => {
    const [rowA, rowB] = [rowOf(db, a), rowOf(db, b)]
    overwrite(db, a, rowB)
    overwrite(db, b, rowA)
    if (!withSalts) return
    const [saltA, saltB] = [saltOf(db, a), saltOf(db, b)]
    writeSalt(db, a, saltB)
    writeSalt(db, b, saltA)
  })
  return { verdicts: ['REORDERED'], id: a }
}

function saltsAround(db: DatabaseSync, id: number) {
  const bundle = Math.floor((id - 1) / 256)
  const salts = readBundleSalts(db, bundle)!
  return { bundle, salts, at: ((id - 1) % 256) * 16 }
}

function saltOf(db: DatabaseSync, id: number): Uint8Array {
  const { salts, at } = saltsAround(db, id)
  return salts.slice(at, at + 16)
}

function writeSalt(db: DatabaseSync, id: number, salt: Uint8Array): void {
  const { salts, bundle, at } = saltsAround(db, id)
  salts.set(salt, at)
  db.prepare('UPDATE log_bundles SET salts = ?, seed = NULL WHERE bundle = ?').run(salts, bundle)
}
