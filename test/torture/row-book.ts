/** The rows against the book of what was appended. */
import assert from 'node:assert/strict'
import type { DatabaseSync } from 'node:sqlite'
import { formatEntry } from '../../src/event/codec.ts'
import type { StoredEvent } from '../../src/event/event.ts'
import { sampleEvent } from '../contract/event-store.ts'

/** What one record says. */
export interface Entry {
  readonly time: string
  readonly description: string
  readonly onceKey: string | null
}

/**
 * The rows have to be the records in order, each once, through the position: but for later deliveries of the outbox, which
 * are no row, and for records that the journal lost, which are declared, or were rows before.
 */
export function assertRows(
  db: DatabaseSync,
  source: string,
  log: readonly (Entry | undefined)[],
  lost: ReadonlySet<number>,
): void {
  const position = Number(db.prepare('SELECT position FROM positions WHERE source = ?').get(source)?.position ?? 0)
  const rows = db.prepare('SELECT * FROM audit_events ORDER BY id').iterate() as unknown as Iterable<StoredEvent>
  const seen = new Set<string>()
  let sequence = 1
  let id = 1
  const isKnown = () => seen.has(log[sequence]?.onceKey ?? '')
  for (const row of rows) {
    assert.equal(row.id, id++, 'ids are gapless')
    if (row.reason_code === 'LOSS_DECLARED') {
      const { first_sequence, last_sequence } = JSON.parse(row.metadata_json ?? '{}')
      while (sequence < first_sequence && isKnown()) sequence++
      assert.equal(first_sequence, sequence, `row ${row.id} declares other records than those that are missing`)
      for (; sequence <= last_sequence; sequence++) assert.ok(lost.has(sequence), `record ${sequence} is not lost`)
      continue
    }
    while (isKnown()) sequence++
    assert.equal(row.description, log[sequence]?.description, `row ${row.id} is not record ${sequence}`)
    const { onceKey } = log[sequence] as Entry
    if (onceKey !== null) seen.add(onceKey)
    sequence++
  }
  while (sequence <= position && isKnown()) sequence++
  assert.equal(sequence - 1, position, 'the position is that of the last row')
}

/** The record, as the journal holds it. */
export function textOf({ time, description, onceKey }: Entry): string {
  const name = description.split(' ')[0] as string // as who, too: so each transaction brings new names for the dictionary
  return formatEntry(sampleEvent(0, { date_time: time, description, request_id: name, who: name }), onceKey)
}
