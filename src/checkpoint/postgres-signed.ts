/** What was signed of a log in PostgreSQL, as files of a log have it, for whoever takes it to others. Read-only. */
import { parseCheckpoint } from '../evidence/checkpoint.ts'
import type { KeyChain } from '../evidence/key-chain.ts'
import { parseNote } from '../evidence/note.ts'
import type { Session } from '../postgres/postgres.ts'
import { readSharedChain } from './postgres-keys.ts'

export interface SharedSigned {
  /** The newest; undefined before the first. */
  readonly checkpoint: string | undefined
  /** Lines of those before, each a JSON string. */
  readonly history: string
  /** The newest that somebody cosigned. */
  readonly witnessed: string | undefined
  readonly chain: KeyChain | undefined
}

/** @throws {Refusal} LOG_KEYS_UNUSABLE */
export async function readSharedSigned(session: Session): Promise<SharedSigned> {
  const tables = await session.query<{ there: boolean }>("SELECT to_regclass('log_checkpoints') IS NOT NULL AS there")
  if (tables.rows[0]?.there !== true) {
    return { checkpoint: undefined, history: '', witnessed: undefined, chain: undefined }
  }
  const { rows } = await session.query<{ note: string }>('SELECT note FROM log_checkpoints ORDER BY size')
  const notes = rows.map(({ note }) => note)
  const witnessed = notes.findLast(isCosigned)
  const checkpoint = notes.pop()
  const history = notes.map(note => `${JSON.stringify(note)}\n`).join('')
  return { checkpoint, history, witnessed, chain: await readSharedChain(session) }
}

function isCosigned(text: string): boolean {
  const note = parseNote(text)
  const origin = parseCheckpoint(note?.text ?? '')?.origin
  return note?.signatures.some(({ name }) => name !== origin) === true
}
