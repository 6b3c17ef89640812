/**
 * A data folder with a signed log, as a service leaves it: rows by the event store, checkpoints by a signer made of src/evidence. What
 * it signs is the head that the store keeps.
 */
import { createHash } from 'node:crypto'
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { AuditEvent } from '../../src/event/event.ts'
import { formatCheckpoint } from '../../src/evidence/checkpoint.ts'
import { formatNote, formatVerifierKey } from '../../src/evidence/note.ts'
import { createSignature } from '../../src/evidence/signature.ts'
import { formatTilePath, TILE_WIDTH, type Tile, tilesOf } from '../../src/evidence/tile.ts'
import { openLogFiles } from '../../src/log/log-files.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { logRoot, readLogHead, readPartialBundle, readPartialTiles } from '../../src/store/log-store.ts'
import { listSegments } from '../../src/store/segments.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { sampleEvent } from '../contract/event-store.ts'
import { createKey, type KeyUnderTest } from '../unit/evidence/keys-under-test.ts'

export const ORIGIN = 'log.example/ev-central'

export interface SignedLog {
  readonly path: string
  /** Folder of the log's files. */
  readonly root: string
  readonly database: string
  /** The first key, as `--key` takes it. */
  readonly key: string
  readonly firstKey: KeyUnderTest
  size(): number
  /** Events of ascending numbers. */
  append(count: number, event?: (n: number) => AuditEvent): Promise<void>
  /** Signs what there is, as the newest checkpoint; `isKept`: in the history too. */
  sign(isKept?: boolean): string
  /** Hands over to a new key at the present size, with its event. */
  rotate(): Promise<void>
  /** Erases events, with their tombstone. @returns its id */
  erase(ids: readonly number[]): Promise<number>
  /** Signs anything with the present key. */
  note(text: string): string
  remove(): void
}

const CREATED = Date.UTC(2026, 5, 1)
const BATCH = 10_000

/** @param segmentIds rows of a segment; the usual ones are too many for most tests */
export function createSignedLog(path = mkdtempSync(join(tmpdir(), 'evc-signed-')), segmentIds = 1_024): SignedLog {
  const { auditDatabase: database } = dataFolder(path)
  const root = logRoot(database)
  const keys: KeyUnderTest[] = [createKey(ORIGIN)]
  let now = CREATED
  const current = () => keys.at(-1)!
  mkdirSync(root, { recursive: true })
  writeFileSync(join(root, 'keys'), `${JSON.stringify({ verifier: formatVerifierKey(current().key) })}\n`)

  function signText(text: string, signers: readonly KeyUnderTest[]): string {
    return formatNote({ text, signatures: signers.map(({ key, sign }) => createSignature(key, text, sign)) })
  }

  async function append(count: number, event = sampleEvent): Promise<void> {
    now += 100
    const store = createSqliteEventStore({ path: database, segmentIds, clock: () => now })
    try {
      const [after, lastId] = [await store.position('journal:a'), await store.lastId()]
      for (let done = 0; done < count; done += BATCH) {
        const length = Math.min(BATCH, count - done)
        const rows = Array.from({ length }, (_, n) => ({ event: event(lastId + done + n + 1), onceKey: null }))
        await store.append({ source: 'journal:a', after: after + done, through: after + done + length, rows })
      }
      await store.checkpoint()
    } finally {
      await store.close()
    }
  }

  const head = () => withDatabase(database, readLogHead)

  return {
    path,
    root,
    database,
    key: formatVerifierKey(current().key),
    firstKey: current(),
    size: () => head().size,
    append,
    sign(isKept = true) {
      const { size, root: hash } = head()
      const signed = signText(formatCheckpoint({ origin: ORIGIN, size, root: hash, extensions: [] }), [current()])
      writeFileSync(join(root, 'checkpoint'), signed)
      if (isKept) appendFileSync(join(root, 'checkpoints'), `${JSON.stringify(signed)}\n`)
      return signed
    },
    async rotate() {
      const [old, next] = [current(), createKey(ORIGIN)]
      const names = [old, next].map(({ key }) => formatVerifierKey(key)).join('\n')
      const text = `ev-central key hand-over v1\n${ORIGIN}\n${head().size}\n${names}\n`
      const note = signText(text, [old, next])
      appendFileSync(join(root, 'keys'), `${JSON.stringify({ hand_over: note })}\n`)
      keys.push(next)
      await append(1, n => systemEvent(n, 'LOG_KEY_ROTATED', { note }))
    },
    async erase(ids) {
      const tombstone = head().size + 1
      const ids_sha256 = createHash('sha256').update(ids.join('\n')).digest('hex')
      await append(1, n =>
        systemEvent(n, 'ERASED', { count: ids.length, ids_sha256, reason: 'asked', actor: 'cli:test' }),
      )
      withDatabase(database, db => eraseRows(db, ids, tombstone))
      return tombstone
    },
    note: text => signText(text, [current()]),
    remove: () => rmSync(path, { recursive: true, force: true }),
  }
}

export function systemEvent(n: number, reason_code: string, metadata: object): AuditEvent {
  return sampleEvent(n, {
    action: 'SYSTEM',
    who: 'system',
    ip: '-',
    severity: 'WARN',
    reason_code,
    status_code: null,
    endpoint: null,
    http_method: null,
    metadata_json: JSON.stringify(metadata),
  })
}

function eraseRows(db: DatabaseSync, ids: readonly number[], tombstone: number): void {
  db.exec('BEGIN; CREATE TABLE IF NOT EXISTS log_erasures (id INTEGER PRIMARY KEY, tombstone INTEGER NOT NULL)')
  for (const id of ids) {
    const segment = listSegments(db).find(({ firstId, lastId = id }) => id >= firstId && id <= lastId)!
    db.exec(`UPDATE ${segment.table} SET who = '', ip = '', description = '', request_id = NULL, endpoint = NULL,
      http_method = NULL, metadata_json = NULL WHERE id = ${id}`)
    const bundle = Math.floor((id - 1) / TILE_WIDTH)
    const salts = db.prepare('SELECT salts FROM log_bundles WHERE bundle = ?').get(bundle)?.salts as Uint8Array
    const place = ((id - 1) % TILE_WIDTH) * 16
    salts.fill(0, place, place + 16)
    db.prepare('UPDATE log_bundles SET salts = ? WHERE bundle = ?').run(salts, bundle)
    db.prepare('INSERT INTO log_erasures VALUES (?, ?)').run(id, tombstone)
  }
  db.exec('COMMIT')
}

export function withDatabase<T>(path: string, work: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(path)
  try {
    return work(db)
  } finally {
    db.close()
  }
}

/** The log in the layout of C2SP tlog-tiles. */
export function writeMirror({ database, root }: SignedLog, directory: string): void {
  const files = openLogFiles(root)
  const [size, partial] = withDatabase(database, db => {
    const { size } = readLogHead(db)
    const table = listSegments(db).at(-1)!.table
    const bundle = readPartialBundle(db, size, table)
    return [size, [...readPartialTiles(db), ...(bundle === undefined ? [] : [bundle])]] as const
  })
  const read = ({ level, index, width }: Tile) =>
    width === TILE_WIDTH ? files.read(level, index) : partial.find(({ tile }) => tile.level === level)?.bytes
  try {
    for (const tile of tilesOf(size)) {
      const path = join(directory, formatTilePath(tile))
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, read(tile)!)
    }
    mkdirSync(directory, { recursive: true })
    for (const name of ['checkpoint', 'checkpoints', 'keys']) cpSync(join(root, name), join(directory, name))
  } finally {
    files.close()
  }
}
