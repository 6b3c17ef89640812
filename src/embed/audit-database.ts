/**
 * Reads an audit database on its own: a file of ours, also while a service writes it, or one of the reference
 * implementation. Both have the documented `audit_events` table, and this uses nothing else of the file.
 *
 * Queries run on the calling thread, which suits scripts and reports. Inside a service, ask the object that
 * `createAudit` returns: it asks a thread of its own.
 */
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { Refusal } from '../errors.ts'
import { COLUMNS, type StoredEvent } from '../event/event.ts'
import type { EventFilter } from '../query/event-queries.ts'
import { type AuditReader, toFailuresRequest, toPageRequest } from './event-query.ts'

export interface AuditDatabase extends AuditReader, Disposable {
  close(): void
}

/**
 * Opens the file read-only.
 * @throws {Refusal} FOREIGN_FILE when there is no such file, or no `audit_events` table with the 14 columns in it.
 */
export function openAuditDatabase(path: string): AuditDatabase {
  const db = open(path)
  const close = () => {
    if (db.isOpen) db.close()
  }

  function select(filter: EventFilter, order: 'asc' | 'desc', limit: number, after?: number): StoredEvent[] {
    const { conditions, values } = where(filter)
    if (after !== undefined) {
      conditions.push(order === 'asc' ? 'id > ?' : 'id < ?')
      values.push(after)
    }
    const condition = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`
    const sql = `SELECT ${COLUMNS.join(', ')} FROM audit_events ${condition} ORDER BY id ${order} LIMIT ?`
    return db
      .prepare(sql)
      .all(...values, limit)
      .map(row => ({ ...row }) as unknown as StoredEvent)
  }

  return {
    async queryEvents(query = {}) {
      const { filter, order, limit, after } = toPageRequest(query)
      return select(filter, order, limit, after)
    },
    async recentAuthFailures(query = {}) {
      const { since, limit, ...subject } = toFailuresRequest(query)
      return select({ ...subject, action: ['AUTH_FAIL'], start_time: since }, 'desc', limit)
    },
    close,
    [Symbol.dispose]: close,
  }
}

function open(path: string): DatabaseSync {
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(path, { readOnly: true, timeout: 5_000 })
    db.prepare(`SELECT ${COLUMNS.join(', ')} FROM audit_events LIMIT 0`).all()
    return db
  } catch (cause) {
    db?.close()
    throw new Refusal('FOREIGN_FILE', `${path} is not an audit database that can be read.`, { cause })
  }
}

function where(filter: EventFilter): { conditions: string[]; values: SQLInputValue[] } {
  const conditions: string[] = []
  const values: SQLInputValue[] = []
  for (const [column, wanted] of Object.entries(filter)) {
    if (column === 'start_time' || column === 'end_time') {
      conditions.push(`date_time ${column === 'start_time' ? '>=' : '<'} ?`)
      values.push(timeBound(wanted as string))
      continue
    }
    const list: readonly string[] = Array.isArray(wanted) ? wanted : [wanted]
    conditions.push(`${column} IN (${list.map(() => '?').join(', ')})`)
    values.push(...list)
  }
  return { conditions, values }
}

/**
 * A bound that compares rightly, as text, with `...05.123Z` (ours), `...05.123456+00:00` and `...05+00:00` (the
 * reference's): a prefix sorts before whatever it begins, so the zone and an empty fraction are left off.
 */
function timeBound(time: string): string {
  return time.replace(/(?:\.000)?Z$/, '')
}
