/** What an intruder does to a log in PostgreSQL, in SQL. */
import { formatCheckpoint, parseCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { formatNote, formatVerifierKey, parseNote } from '../../../src/evidence/note.ts'
import { createSignature } from '../../../src/evidence/signature.ts'
import { ORIGIN } from '../../harness/signed-postgres.ts'
import { createKey } from '../../unit/evidence/keys-under-test.ts'
import { TEXTS } from '../outcome.ts'
import type { PostgresGround, PostgresMutation, PostgresPlace } from '../postgres-mutations.ts'

const COLUMNS = `date_time, who, ip, action, description, severity, reason_code, request_id, endpoint, http_method, status_code,
  metadata_json, created_at`
/** Ids of no event, to move rows by way of; a partition is made for them. */
const AWAY = 1_000_000

const anyId = ({ ground, random }: PostgresPlace) => random.between(1, ground.size)

/** Of a bundle whose entries are a tile: there the log still says what the row was. */
const hasEntry = ({ size }: PostgresGround, id: number) => id <= size - (size % 256)

const idWithEntry = ({ ground: { size }, random }: PostgresPlace) => random.between(1, size - (size % 256))

/** Not erased. */
function idWithSalt(place: PostgresPlace): number {
  for (;;) {
    const id = anyId(place)
    if (!place.ground.erased.includes(id)) return id
  }
}

/** Of an event that has a value in every indexed column: not erased, and not a tombstone. */
function idWithValues(place: PostgresPlace): number {
  for (;;) {
    const id = idWithSalt(place)
    if (id !== place.ground.tombstone) return id
  }
}

function twoIds(place: PostgresPlace): [number, number] {
  for (;;) {
    const [a, b] = [idWithSalt(place), idWithSalt(place)].sort((x, y) => x - y) as [number, number]
    if (a < b) return [a, b]
  }
}

/** With others behind it, none of them erased. */
function idWithFollowers({ ground: { erased, tombstone }, random }: PostgresPlace): number {
  return random.between(Math.max(...erased) + 1, tombstone - 1)
}

function edit(column: string, sql: string): PostgresMutation {
  return async place => {
    const id = anyId(place)
    await place.run(`UPDATE audit_events SET ${column} = ${sql} WHERE id = ${id}`)
    return { verdicts: ['EDITED'], id }
  }
}

function moveTime(column: 'date_time' | 'created_at', hours: number): PostgresMutation {
  return async place => {
    const id = anyId(place)
    const [row] = await place.run(`SELECT ${column} AS time FROM audit_events WHERE id = ${id}`)
    const time = new Date(Date.parse(String(row?.time)) + hours * 3_600_000).toISOString()
    await place.run(`UPDATE audit_events SET ${column} = $1 WHERE id = ${id}`, [time])
    return { verdicts: [hours < 0 && hasEntry(place.ground, id) ? 'BACK_DATED' : 'EDITED'], id }
  }
}

async function withRoomAway({ run }: PostgresPlace): Promise<void> {
  await run('CREATE TABLE away PARTITION OF audit_events FOR VALUES FROM (1000000) TO (2000000)')
}

const noRoomAway = ({ run }: PostgresPlace) => run('DROP TABLE away')

/** Rows from an id on become those of the ids behind or before. */
async function shift(place: PostgresPlace, from: number, by: number): Promise<void> {
  await place.run(`UPDATE audit_events SET id = id + ${AWAY} WHERE id >= ${from}`)
  await place.run(`UPDATE audit_events SET id = id - ${AWAY} + ${by} WHERE id >= ${AWAY}`)
}

const insertCopy = (of: number, id: number) =>
  `INSERT INTO audit_events (id, ${COLUMNS}) SELECT ${id}, ${COLUMNS.replace('description', "'another'")} FROM audit_events WHERE id = ${of}`

async function makePartitions({ run, ground }: PostgresPlace): Promise<void> {
  for (let n = Math.ceil(ground.size / 1_024); n <= Math.ceil((ground.size + 1) / 1_024); n++) {
    const [last] = await run('SELECT max(last_id)::float8 AS last FROM event_partitions')
    if (Number(last?.last) > ground.size) return
    await run('SELECT evc_add_partition()')
  }
}

const ROWS: Record<string, PostgresMutation> = {
  'row: a text edited': place => {
    const column = place.random.pick(TEXTS)
    return edit(column, `coalesce(${column}, '') || '~'`)(place)
  },
  'row: status_code edited': edit('status_code', 'coalesce(status_code, 0) + 1'),
  'row: a number beyond what is exact': edit('status_code', '1152921504606846976'),
  'row: a text without end': edit('description', "repeat('x', 2000000)"),
  'row: date_time earlier': moveTime('date_time', -1),
  'row: date_time later': moveTime('date_time', 1),
  'row: created_at earlier': moveTime('created_at', -1),
  'row: created_at later': moveTime('created_at', 1),
  async 'row: deleted'(place) {
    const id = anyId(place)
    await place.run(`DELETE FROM audit_events WHERE id = ${id}`)
    return { verdicts: [id === place.ground.size ? 'TRUNCATED' : 'DELETED'], id }
  },
  async 'row: deleted, the others moved up'(place) {
    const id = idWithFollowers(place)
    await withRoomAway(place)
    await place.run(`DELETE FROM audit_events WHERE id = ${id}`)
    await shift(place, id + 1, -1)
    await noRoomAway(place)
    return { verdicts: ['DELETED'], id }
  },
  async 'row: inserted, the others moved down'(place) {
    const id = idWithFollowers(place)
    await makePartitions(place)
    await withRoomAway(place)
    await shift(place, id, 1)
    await noRoomAway(place)
    await place.run(insertCopy(1, id))
    return { verdicts: ['INSERTED'], id }
  },
  async 'row: inserted at the end'(place) {
    await makePartitions(place)
    await place.run(insertCopy(1, place.ground.size + 1))
    return { verdicts: ['INSERTED'], id: place.ground.size + 1 }
  },
  'row: two exchanged': place => exchange(place, false),
  'row: two exchanged with their salts': place => exchange(place, true),
  async 'rows: the tail cut off'(place) {
    const id = anyId(place)
    await place.run(`DELETE FROM audit_events WHERE id >= ${id}`)
    return { verdicts: ['TRUNCATED'], id }
  },
  async 'rows: the tail cut off, and the log with it'({ ground, run }) {
    const [head] = await run('SELECT size::float8 AS size FROM log_head')
    await run(
      `DELETE FROM audit_events; DELETE FROM log_tiles; DELETE FROM log_edge; DELETE FROM log_salts; DELETE FROM log_erasures`,
    )
    await run("UPDATE log_head SET size = 0, edge = '', root = sha256('')")
    return { verdicts: ['TRUNCATED'], id: [1, Math.min(Number(head?.size), ground.size)] }
  },
}

async function exchange(place: PostgresPlace, withSalts: boolean) {
  const [a, b] = twoIds(place)
  await withRoomAway(place)
  await place.run(`UPDATE audit_events SET id = ${AWAY} WHERE id = ${a}`)
  await place.run(`UPDATE audit_events SET id = ${a} WHERE id = ${b}`)
  await place.run(`UPDATE audit_events SET id = ${b} WHERE id = ${AWAY}`)
  await noRoomAway(place)
  if (withSalts) {
    const [saltA, saltB] = [await saltOf(place, a), await saltOf(place, b)]
    await place.run(setSalt(a), [saltB])
    await place.run(setSalt(b), [saltA])
  }
  return { verdicts: ['REORDERED'], id: a } as const
}

const placeOf = (id: number) => `((${id} - first_id) * 16 + 1)::integer`
const batchOf = (id: number) => `WHERE ${id} BETWEEN first_id AND last_id`
const setSalt = (id: number) =>
  `UPDATE log_salts SET salts = overlay(salts PLACING $1::bytea FROM ${placeOf(id)}) ${batchOf(id)}`

async function saltOf({ run }: PostgresPlace, id: number): Promise<unknown> {
  return (await run(`SELECT substring(salts FROM ${placeOf(id)} FOR 16) AS salt FROM log_salts ${batchOf(id)}`))[0]
    ?.salt
}

/** A row is written again while the index takes no entries. */
function withoutEntries(column: string): PostgresMutation {
  return async place => {
    const { run } = place
    const id = idWithValues(place)
    const ready = (value: boolean) =>
      run(`SET allow_system_table_mods = on; UPDATE pg_index SET indisready = ${value} WHERE indexrelid IN (
        SELECT i.indexrelid FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        JOIN pg_inherits p ON p.inhrelid = i.indrelid AND p.inhparent = 'audit_events'::regclass WHERE a.attname = '${column}')`)
    await ready(false)
    const rows = await run(`DELETE FROM audit_events WHERE id = ${id} RETURNING id, ${COLUMNS}`)
    const values = Object.values(rows[0]!)
    const places = values.map((_, n) => `$${n + 1}`).join(', ')
    await run(`INSERT INTO audit_events (id, ${COLUMNS}) VALUES (${places})`, values)
    await ready(true)
    // Without the primary key nothing finds it, not even the verifier; then what is stored of it is not only hidden.
    if (column !== 'id') return { verdicts: ['HIDDEN'], id }
    return { verdicts: [id === place.ground.size ? 'TRUNCATED' : 'DELETED'], id }
  }
}

const INDEXED = ['date_time', 'who', 'ip', 'action', 'severity', 'reason_code', 'request_id'] as const

const REACH: Record<string, PostgresMutation> = {
  'index: of ids without an entry': withoutEntries('id'),
  'index: of a column without an entry': place => withoutEntries(place.random.pick(INDEXED))(place),
  async 'index: gone, which hides nothing'({ run }) {
    await run('DROP INDEX idx_audit_who')
    return { verdicts: ['PRISTINE'] }
  },
  async 'partition: detached'({ run }) {
    await run('ALTER TABLE audit_events DETACH PARTITION audit_events_2')
    return { verdicts: ['HIDDEN'], id: 1_025 }
  },
  async 'partition: detached and gone'({ run }) {
    await run('DROP TABLE audit_events_1')
    return { verdicts: ['DELETED'], id: 1 }
  },
  async 'partition: a copy beside it'({ run }) {
    await run('CREATE TABLE audit_events_9 AS SELECT * FROM audit_events WHERE id BETWEEN 30 AND 40')
    return { verdicts: ['INSERTED'], id: 30 }
  },
  async 'partition: listed from a later id on'({ run }) {
    await run('UPDATE event_partitions SET first_id = 500 WHERE number = 1')
    return { verdicts: ['HIDDEN'], id: 1 }
  },
  async 'partition: not listed'({ run }) {
    await run('DELETE FROM event_partitions WHERE number = 1')
    return { verdicts: ['HIDDEN'], id: 1 }
  },
  async 'times: later than those of a row'({ run }) {
    await run('UPDATE event_times SET min_time = (SELECT date_time FROM audit_events WHERE id = 40) WHERE chunk = 0')
    return { verdicts: ['HIDDEN'], id: 1 }
  },
  async 'times: earlier than those of a row'({ run }) {
    await run('UPDATE event_times SET max_time = (SELECT date_time FROM audit_events WHERE id = 40) WHERE chunk = 0')
    return { verdicts: ['HIDDEN'], id: 41 }
  },
  async 'table: row security'({ run }) {
    await run('ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY')
    return { verdicts: ['HIDDEN'] }
  },
  async 'table: a view in its place'({ run }) {
    await run('ALTER TABLE audit_events RENAME TO kept; CREATE VIEW audit_events AS SELECT * FROM kept WHERE id <> 7')
    return { verdicts: ['MALFORMED'] }
  },
}

const flip = (at: string) => (column: string) => `set_byte(${column}, ${at}, get_byte(${column}, ${at}) # 1)`

function flipTile(level: number, bytes: number): PostgresMutation {
  return async place => {
    const index = Math.floor((idWithEntry(place) - 1) / 256)
    const at = place.random.between(0, bytes - 1)
    await place.run(
      `UPDATE log_tiles SET bytes = ${flip(String(at))('bytes')} WHERE level = ${level} AND tile = ${index}`,
    )
    return { verdicts: ['EDITED', 'DELETED', 'MALFORMED', 'REORDERED'], id: [index * 256 + 1, index * 256 + 256] }
  }
}

function dropTile(level: number): PostgresMutation {
  return async place => {
    const index = Math.floor((idWithEntry(place) - 1) / 256)
    await place.run(`DELETE FROM log_tiles WHERE level = ${level} AND tile = ${index}`)
    return { verdicts: ['DELETED'], id: index * 256 + 1 }
  }
}

const LOG: Record<string, PostgresMutation> = {
  async 'salt: edited'(place) {
    const id = idWithSalt(place)
    const at = `(${id} - first_id)::integer * 16 + ${place.random.between(0, 15)}`
    await place.run(`UPDATE log_salts SET salts = ${flip(at)('salts')} ${batchOf(id)}`)
    return { verdicts: ['EDITED'], id }
  },
  async 'salt: destroyed without record'(place) {
    const id = idWithSalt(place)
    await place.run(setSalt(id), [Buffer.alloc(16)])
    return { verdicts: ['EDITED', 'ERASED_WITHOUT_RECORD'], id }
  },
  async 'salts: a batch gone'(place) {
    const id = anyId(place)
    const [batch] = await place.run(`DELETE FROM log_salts ${batchOf(id)} RETURNING first_id::float8 AS id`)
    return { verdicts: ['EDITED'], id: Number(batch?.id) }
  },
  async 'salts: one more batch'(place) {
    const id = place.random.between(3, 1_000)
    await place.run(
      `INSERT INTO log_salts SELECT ${id}, ${id}, substring(salts FROM ${placeOf(id)} FOR 16), '' FROM log_salts ${batchOf(id)}`,
    )
    return { verdicts: ['EDITED'], id }
  },
  async 'salts: cut'(place) {
    const id = idWithSalt(place)
    const [batch] =
      await place.run(`UPDATE log_salts SET salts = substring(salts FROM 1 FOR length(salts) - 16) ${batchOf(id)}
      RETURNING first_id::float8 AS first, last_id::float8 AS last`)
    return { verdicts: ['EDITED'], id: [Number(batch?.first), Number(batch?.last)] }
  },
  async 'salts: a batch of ids beyond all numbers'({ run }) {
    await run(
      "INSERT INTO log_salts VALUES (9223372036854775807, 9223372036854775807, '', ''), (-9223372036854775808, 9223372036854775807, '', '')",
    )
    return { verdicts: ['EDITED'] }
  },
  /** Of the bundle that has no entries yet. */
  async 'commitments: edited'({ ground: { size }, run, random }) {
    const at = `length(commitments) - ${random.between(1, 32)}`
    await run(`UPDATE log_salts SET commitments = ${flip(at)('commitments')} WHERE last_id = ${size}`)
    return { verdicts: ['EDITED'], id: size }
  },
  'entries: edited': flipTile(-1, 60_000),
  'entries: gone': dropTile(-1),
  'tile: edited': flipTile(0, 8_192),
  'tile: gone': dropTile(0),
  async 'tile: cut'(place) {
    const index = Math.floor((idWithEntry(place) - 1) / 256)
    await place.run(`UPDATE log_tiles SET bytes = substring(bytes FOR 8160) WHERE level = 0 AND tile = ${index}`)
    return { verdicts: ['DELETED'], id: index * 256 + 256 }
  },
  async 'tile: beyond the log'({ run }) {
    await run("INSERT INTO log_tiles VALUES (0, 4711, '')")
    return { verdicts: ['INSERTED'] }
  },
  async 'edge: edited'({ run, random }) {
    const level = random.between(0, 1)
    await run(`UPDATE log_edge SET hashes = ${flip('length(hashes) - 1')('hashes')} WHERE level = ${level}`)
    return { verdicts: ['EDITED'] }
  },
  async 'edge: gone'({ run }) {
    await run('DELETE FROM log_edge')
    return { verdicts: ['DELETED'] }
  },
  async 'head: another root'({ run, random }) {
    await run(`UPDATE log_head SET root = ${flip(String(random.between(0, 31)))('root')}`)
    return { verdicts: ['EDITED'] }
  },
  async 'head: another edge'({ run }) {
    await run(`UPDATE log_head SET edge = ${flip('5')('edge')}`)
    return { verdicts: ['EDITED'] }
  },
  async 'head: set back'({ ground: { signedSize }, run, random }) {
    const size = random.between(1, signedSize - 1)
    await run(`UPDATE log_head SET size = ${size}`)
    return { verdicts: ['TRUNCATED', 'EDITED', 'DELETED'], id: [1, size + 1] }
  },
  async 'erasure: claimed of another'({ ground: { tombstone }, run, random }) {
    const id = random.between(301, 1_000)
    await run(`INSERT INTO log_erasures VALUES (${id}, ${tombstone})`)
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id }
  },
  async 'erasure: not claimed'({ ground: { erased }, run, random }) {
    const id = random.pick(erased)
    await run(`DELETE FROM log_erasures WHERE id = ${id}`)
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id }
  },
  async 'erasure: the row filled again'({ ground: { erased }, run, random }) {
    const id = random.pick(erased)
    await run(`UPDATE audit_events SET who = 'somebody' WHERE id = ${id}`)
    return { verdicts: ['EDITED'], id }
  },
}

const newestNote = async ({ run }: PostgresPlace) =>
  String((await run('SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1'))[0]?.note)

const setNote = ({ run, ground }: PostgresPlace, note: string) =>
  run(`UPDATE log_checkpoints SET note = $1 WHERE size = ${ground.signedSize}`, [note])

const checkpointOf = (note: string) => parseCheckpoint(parseNote(note)!.text)!

const SIGNED: Record<string, PostgresMutation> = {
  async 'checkpoint: edited'(place) {
    const note = await newestNote(place)
    const at = place.random.between(0, note.length - 2)
    const other = note[at] === 'A' ? 'B' : 'A'
    await setNote(place, `${note.slice(0, at)}${other}${note.slice(at + 1)}`)
    return { verdicts: ['WRONG_KEY', 'MALFORMED'] }
  },
  async 'checkpoint: signed by a stranger'(place) {
    const { size, root } = checkpointOf(await newestNote(place))
    const stranger = createKey(ORIGIN)
    const text = formatCheckpoint({ origin: ORIGIN, size, root, extensions: [] })
    await setNote(place, formatNote({ text, signatures: [createSignature(stranger.key, text, stranger.sign)] }))
    return { verdicts: ['WRONG_KEY'], size }
  },
  async 'checkpoint: an older one in its place'(place) {
    const [first] = await place.run('SELECT size::float8 AS size, note FROM log_checkpoints ORDER BY size LIMIT 1')
    await setNote(place, String(first?.note))
    return { verdicts: ['ROLLED_BACK', 'EDITED'] }
  },
  async 'checkpoint: the newest gone'(place) {
    const trusted = await newestNote(place)
    await place.run(`DELETE FROM log_checkpoints WHERE size = ${place.ground.signedSize}`)
    return { verdicts: ['ROLLED_BACK'], size: place.ground.signedSize, trusted }
  },
  async 'checkpoints: all gone'({ run }) {
    await run('DELETE FROM log_checkpoints')
    return { verdicts: ['UNVERIFIABLE'] }
  },
  async 'history: two exchanged'({ run }) {
    const [a, b] = await run('SELECT size::float8 AS size, note FROM log_checkpoints ORDER BY size LIMIT 2')
    await run(`UPDATE log_checkpoints SET note = $1 WHERE size = ${a?.size}`, [b?.note])
    await run(`UPDATE log_checkpoints SET note = $1 WHERE size = ${b?.size}`, [a?.note])
    return { verdicts: ['FORKED', 'EDITED'] }
  },
  async 'keys: another one'({ run }) {
    const { key } = createKey(ORIGIN)
    await run('UPDATE log_key_chain SET chain = $1', [`${JSON.stringify({ verifier: formatVerifierKey(key) })}\n`])
    return { verdicts: ['WRONG_KEY'] }
  },
  async 'everything: an older copy'({ ground }) {
    return { verdicts: ['ROLLED_BACK'], size: ground.signedSize, trusted: ground.newest, url: ground.older }
  },
}

export const POSTGRES_MUTATIONS: Readonly<Record<string, PostgresMutation>> = { ...ROWS, ...REACH, ...LOG, ...SIGNED }
