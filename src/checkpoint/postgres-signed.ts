/** What was signed of a log in PostgreSQL, as files of a log have it, for whoever takes it to others. Read-only. */
import type { KeyChain } from '../evidence/key-chain.ts'
import type { Session } from '../postgres/postgres.ts'
import { readSharedChain } from './postgres-keys.ts'

export interface SharedSigned {
  /** Undefined before the first. */
  readonly newest: string | undefined
  /** Lines of those before, each a JSON string. */
  readonly history: string
  /** The newest that was kept as witnessed, by whichever instance. */
  readonly witnessed: string | undefined
  readonly chain: KeyChain | undefined
}

/** @throws {Refusal} LOG_KEYS_UNUSABLE */
export async function readSharedSigned(session: Session): Promise<SharedSigned> {
  const tables = await session.query<{ there: boolean }>("SELECT to_regclass('log_witnessed') IS NOT NULL AS there")
  if (tables.rows[0]?.there !== true) {
    return { newest: undefined, history: '', witnessed: undefined, chain: undefined }
  }
  const { rows } = await session.query<{ note: string }>('SELECT note FROM log_checkpoints ORDER BY size')
  const notes = rows.map(({ note }) => note)
  const newest = notes.pop()
  const history = notes.map(note => `${JSON.stringify(note)}\n`).join('')
  const kept = await session.query<{ note: string }>('SELECT note FROM log_witnessed')
  return { newest, history, witnessed: kept.rows[0]?.note, chain: await readSharedChain(session) }
}
