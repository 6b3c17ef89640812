/**
 * A data folder with a signed log, as a service leaves it, made by its own parts: rows by the event store, checkpoints by the signer,
 * hand-overs, erasures. Only the clock is moved on, so that each checkpoint is kept in the history.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { system } from '../../src/audit/events.ts'
import {
  askForRotation,
  beginKeyChain,
  completeHandOver,
  readKeyChain,
  readSigningKeys,
  takeHandOver,
} from '../../src/checkpoint/key-files.ts'
import { createSigner } from '../../src/checkpoint/signer.ts'
import { handOverDetails } from '../../src/checkpoint/signing-keys.ts'
import { createContext } from '../../src/context/context.ts'
import { cleanFiles, erase } from '../../src/erasure/erase.ts'
import type { AuditEvent } from '../../src/event/event.ts'
import { parseCheckpoint } from '../../src/evidence/checkpoint.ts'
import { currentKeys } from '../../src/evidence/key-chain.ts'
import { formatNote, formatVerifierKey, parseNote } from '../../src/evidence/note.ts'
import { createSignature, createVerifier } from '../../src/evidence/signature.ts'
import { formatTilePath, TILE_WIDTH, type Tile, tilesOf } from '../../src/evidence/tile.ts'
import { openLogFiles } from '../../src/log/log-files.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { erasurePaths } from '../../src/service/erasure.ts'
import { keyFolders } from '../../src/service/rotate-key.ts'
import { logRoot, readLogHead, readPartialBundle, readPartialTiles } from '../../src/store/log-store.ts'
import { listSegments } from '../../src/store/segments.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { sampleEvent } from '../contract/event-store.ts'
import type { KeyUnderTest } from '../unit/evidence/keys-under-test.ts'

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
  /** Hands over to a new key at the size signed last, with its event; `withMlDsa44`: to two. As it is, if it is not said. */
  rotate(withMlDsa44?: boolean): Promise<void>
  /** Erases whatever holds a name. @returns id of the tombstone */
  erase(name: string): Promise<number>
  /** Signs anything with the present keys. */
  note(text: string): string
  remove(): void
}

const CREATED = Date.UTC(2026, 5, 1)
const BATCH = 10_000
/** More than between two checkpoints of the history. */
const KEPT_MS = 3_700_000

/** @param segmentIds rows of a segment; the usual ones are too many for most tests */
export function createSignedLog(path = mkdtempSync(join(tmpdir(), 'evc-signed-')), segmentIds = 1_024): SignedLog {
  const folder = dataFolder(path)
  const { auditDatabase: database } = folder
  const root = logRoot(database)
  const folders = keyFolders(folder)
  let now = CREATED
  const first = readSigningKeys(folders, currentKeys(beginKeyChain(folders, ORIGIN)))[0]!
  const chain = () => readKeyChain(folders)!

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
    key: formatVerifierKey(first.key),
    firstKey: { ...first, verifier: createVerifier(first.key) },
    size: () => head().size,
    append,
    sign(isKept = true) {
      const clock = () => Date.now() + (isKept ? KEPT_MS : 0)
      const signer = createSigner({ storePath: database, folders, clock })
      const outcome = signer.sign()
      signer.close()
      assert.ok(outcome.kind === 'signed' || outcome.kind === 'nothing-new', JSON.stringify(outcome))
      return outcome.note
    },
    async rotate(withMlDsa44) {
      const signed = parseCheckpoint(parseNote(readFileSync(join(root, 'checkpoint'), 'utf8'))!.text)!
      askForRotation(folders, chain(), withMlDsa44)
      const note = takeHandOver(folders, chain(), signed.size)!
      await append(1, () => system('LOG_KEY_ROTATED', createContext(), handOverDetails(note)))
      completeHandOver(folders, chain(), note)
    },
    async erase(name) {
      const paths = erasurePaths(folder)
      const subject = { kind: 'who', name } as const
      const { eventId } = await erase(paths, { subject, reason: 'asked', actor: 'cli:test' })
      await cleanFiles(paths, subject)
      return eventId!
    },
    note(text) {
      const keys = readSigningKeys(folders, currentKeys(chain()))
      return formatNote({ text, signatures: keys.map(({ key, sign }) => createSignature(key, text, sign)) })
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  }
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
