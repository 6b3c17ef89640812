/**
 * Copies of damaged journal segments (`*.damaged`), which the journal leaves for whoever looks into the damage. Whatever could be
 * read in one is a row, and what could not be is on record as a loss; so a copy is evidence of damage only, and one that shows a
 * subject goes as a whole when that is erased.
 */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { destroy } from '../archive/destroy.ts'
import { listFilesDue } from '../store/erasures.ts'
import { type LegalHold, listHolds } from '../store/retention.ts'
import type { Subject } from '../store/subject.ts'

const NAME = /^\d{12}\.journal\.damaged(?:-\d+)?$/
const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g

/** Names of those that show the subject, in one of the spellings of a record. */
export function copiesHolding(journalDirectory: string, { name }: Subject): string[] {
  const spellings = [name, JSON.stringify(name).slice(1, -1), encodeURIComponent(name)]
  return globSync('*.damaged*', { cwd: journalDirectory })
    .filter(copy => NAME.test(copy))
    .filter(copy => {
      const bytes = readFileSync(join(journalDirectory, copy))
      return spellings.some(spelling => bytes.includes(spelling))
    })
}

/** A hold on times that a copy shows; on any, where it shows none. */
export function holdOnCopies(
  db: DatabaseSync,
  journalDirectory: string,
  copies: readonly string[],
): LegalHold | undefined {
  const holds = listHolds(db)
  const times = copies.map(copy => timesIn(join(journalDirectory, copy)))
  return holds.find(({ start_time, end_time }) =>
    times.some(({ first, last }) => last >= Date.parse(start_time) && first < Date.parse(end_time)),
  )
}

function timesIn(path: string): { readonly first: number; readonly last: number } {
  let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const [time] of readFileSync(path, 'latin1').matchAll(TIME)) {
    const at = Date.parse(time)
    first = Math.min(first, at)
    last = Math.max(last, at)
  }
  return first <= last ? { first, last } : { first: Number.NEGATIVE_INFINITY, last: Number.POSITIVE_INFINITY }
}

/** Those that an erasure has put on record (store/erasures.ts). */
export function destroyCopiesDue(db: DatabaseSync, journalDirectory: string): void {
  for (const name of listFilesDue(db)) {
    const path = join(journalDirectory, name)
    if (NAME.test(name) && existsSync(path)) destroy(path)
  }
}
