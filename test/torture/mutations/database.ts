/** How mutations write into an event database. */
import { DatabaseSync } from 'node:sqlite'
import { COLUMNS, type StoredEvent } from '../../../src/event/event.ts'
import { dataFolder } from '../../../src/service/data-folder.ts'
import { listSegments, type Segment } from '../../../src/store/segments.ts'

/** Whatever is allowed to whoever has the file. */
export function spoil<T>(path: string, work: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(dataFolder(path).auditDatabase, { defensive: false })
  try {
    return work(db)
  } finally {
    db.close()
  }
}

export function segmentOf(db: DatabaseSync, id: number): Segment {
  return listSegments(db).find(({ firstId, lastId = id }) => id >= firstId && id <= lastId)!
}

export function rowOf(db: DatabaseSync, id: number): StoredEvent {
  return { ...db.prepare(`SELECT * FROM ${segmentOf(db, id).table} WHERE id = ?`).get(id) } as unknown as StoredEvent
}

/** All columns but the id. */
export function overwrite(db: DatabaseSync, id: number, row: StoredEvent): void {
  const columns = COLUMNS.filter(column => column !== 'id')
  const set = columns.map(column => `${column} = ?`).join(', ')
  db.prepare(`UPDATE ${segmentOf(db, id).table} SET ${set} WHERE id = ?`).run(...columns.map(column => row[column]), id)
}

export function insert(db: DatabaseSync, table: string, row: StoredEvent): void {
  const places = COLUMNS.map(() => '?').join(', ')
  db.prepare(`INSERT INTO ${table} (${COLUMNS.join(', ')}) VALUES (${places})`).run(
    ...COLUMNS.map(column => row[column]),
  )
}
