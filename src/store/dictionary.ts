/**
 * Names (who, ip) and kinds (action, severity, reason_code) as numbers, for the columns of chunks. A number is given at
 * the first use, in the caller's transaction, and never changes.
 *
 * Owns a bounded memory of numbers given, which is only right as long as every transaction is committed: `forget` after
 * one that was not. Names not seen for a while leave it, half of it at a time. Another connection may take a name out of the
 * table (erasures.ts); so all is forgotten when one has committed anything (`refresh`).
 */
import type { DatabaseSync } from 'node:sqlite'
import type { Kind } from './chunk.ts'

export const DICTIONARY_TABLES = `
CREATE TABLE event_names (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE event_kinds (
  number INTEGER PRIMARY KEY, action TEXT NOT NULL, severity TEXT NOT NULL, reason_code TEXT
);
CREATE INDEX event_kinds_action ON event_kinds (action, severity, reason_code);
`

/** Some 20 MB; more names than this are looked up in the table. */
const NAMES_REMEMBERED = 120_000
/** Columns hold a kind in 16 bits. Further reason codes are counted together, under this one. */
const KINDS_MAX = 60_000
const OTHER_REASON = '(other)'

export interface Dictionary {
  nameNumber(name: string): number
  kindNumber(kind: Kind): number
  /** Call at the start of each transaction. @returns whether numbers given before may not be right any more */
  refresh(): boolean
  forget(): void
}

export function createDictionary(db: DatabaseSync): Dictionary {
  const selectName = db.prepare('SELECT number FROM event_names WHERE name = ?')
  const insertName = db.prepare('INSERT INTO event_names (name) VALUES (?)')
  const selectKind = db.prepare('SELECT number FROM event_kinds WHERE action = ? AND severity = ? AND reason_code IS ?')
  const lastKind = db.prepare('SELECT max(number) AS number FROM event_kinds')
  const selectVersion = db.prepare('PRAGMA data_version')
  const insertKind = db.prepare('INSERT INTO event_kinds (action, severity, reason_code) VALUES (?, ?, ?)')
  let names = new Map<string, number>()
  let olderNames = new Map<string, number>()
  const kinds = new Map<string, number>()
  let versionSeen: unknown

  function forget(): void {
    names.clear()
    olderNames.clear()
    kinds.clear()
  }

  function storedKind({ action, severity, reason }: Kind): number {
    const known = selectKind.get(action, severity, reason)?.number
    if (known !== undefined) return Number(known)
    const isFull = Number(lastKind.get()?.number ?? 0) >= KINDS_MAX
    if (isFull && reason !== OTHER_REASON) return storedKind({ action, severity, reason: OTHER_REASON })
    return Number(insertKind.run(action, severity, reason).lastInsertRowid)
  }

  const storedName = (name: string) => Number(selectName.get(name)?.number ?? insertName.run(name).lastInsertRowid)

  function remember(name: string, number: number): number {
    if (names.size >= NAMES_REMEMBERED / 2) {
      olderNames = names
      names = new Map()
    }
    names.set(name, number)
    return number
  }

  return {
    nameNumber: name => names.get(name) ?? remember(name, olderNames.get(name) ?? storedName(name)),
    kindNumber(kind) {
      const key = `${kind.action}\n${kind.severity}${kind.reason === null ? '' : `\n${kind.reason}`}`
      let number = kinds.get(key)
      if (number === undefined) {
        number = storedKind(kind)
        if (kinds.size >= KINDS_MAX) kinds.clear()
        kinds.set(key, number)
      }
      return number
    },
    refresh() {
      const version = selectVersion.get()?.data_version
      const isChanged = version !== versionSeen
      if (isChanged) forget()
      versionSeen = version
      return isChanged
    },
    forget,
  }
}
