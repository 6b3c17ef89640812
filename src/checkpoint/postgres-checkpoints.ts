/** The checkpoints of a log in PostgreSQL, as those who sign find and leave them, and the lock that they do it under. */
import { parseSignedCheckpoint } from '../evidence/checkpoint.ts'
import { type KeyChain, openByChain } from '../evidence/key-chain.ts'
import { EMPTY_ROOT } from '../evidence/merkle.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import { formatNote, parseNote } from '../evidence/note.ts'
import type { Postgres, Session } from '../postgres/postgres.ts'
import type { SizedNote } from './checkpoint-host.ts'
import { sharedChainParser } from './postgres-keys.ts'
import { SIGN_LOCK } from './postgres-schema.ts'

export interface Last extends TreeHead {
  /** Undefined before the first. */
  readonly note: string | undefined
}

/** What is stored at one moment. */
export interface Stored {
  readonly chain: KeyChain | undefined
  readonly last: Last | 'damaged'
  readonly witnessed: SizedNote | undefined
}

/** By one statement: whoever does not hold the lock must not see keys of one moment, and a checkpoint of another. */
const STORED = `SELECT (SELECT chain FROM log_key_chain) AS chain, (SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1) AS newest,
  (SELECT note FROM log_witnessed) AS witnessed`
const NEWEST = 'SELECT size, note FROM log_checkpoints ORDER BY size DESC LIMIT 1'
const KEEP_WITNESSED = `INSERT INTO log_witnessed (size, note) VALUES ($1, $2)
  ON CONFLICT (one) DO UPDATE SET size = excluded.size, note = excluded.note WHERE log_witnessed.size <= excluded.size`

/** For whoever reads again and again. What is given back throws {Refusal} LOG_KEYS_UNUSABLE. */
export function storedReader(): (session: Session) => Promise<Stored> {
  const parseChain = sharedChainParser()
  return async session => {
    const { rows } = await session.query<Record<'chain' | 'newest' | 'witnessed', string | null>>(STORED)
    const { newest = null, witnessed = null } = rows[0] ?? {}
    const chain = parseChain(rows[0]?.chain)
    return { chain, last: openLast(newest, chain), witnessed: openWitnessed(witnessed, chain) }
  }
}

function openLast(note: string | null, chain: KeyChain | undefined): Last | 'damaged' {
  if (note === null) return { size: 0, root: EMPTY_ROOT, note: undefined }
  const opened = chain && openByChain(note, chain)
  return opened?.isTrusted ? { ...opened.checkpoint, note } : 'damaged'
}

/** One that this log did not sign is none; its cosignatures are for whoever knows the witnesses. */
function openWitnessed(note: string | null, chain: KeyChain | undefined): SizedNote | undefined {
  const opened = note === null || chain === undefined ? undefined : openByChain(note, chain)
  return note !== null && opened?.isTrusted ? { size: opened.checkpoint.size, note } : undefined
}

export async function newestSize(session: Session): Promise<number> {
  return (await session.query<{ size: number }>(NEWEST)).rows[0]?.size ?? 0
}

/** Under the lock. The one `before` stays as history if there is none of the interval before it. */
export async function keepCheckpoint(session: Session, { size, note }: SizedNote, before: number, interval: string) {
  await session.query('INSERT INTO log_checkpoints (size, note) VALUES ($1, $2)', [size, note])
  await session.query('SELECT evc_forget_checkpoint($1, $2)', [before, interval])
}

/** What witnesses signed, too: of the newest, if it still is that. @param isWitnessed enough have: it is kept as such in any case */
export async function keepCosigned(postgres: Postgres, cosigned: string, isWitnessed: boolean): Promise<void> {
  const given = parseNote(cosigned)
  const size = parseSignedCheckpoint(cosigned)?.size
  if (given === undefined || size === undefined) return
  await postgres.transaction(async session => {
    await lock(session)
    if (isWitnessed) await session.query(KEEP_WITNESSED, [size, cosigned])
    const newest = (await session.query<SizedNote & Record<string, unknown>>(NEWEST)).rows[0]
    if (newest === undefined || parseNote(newest.note)?.text !== given.text) return
    await session.query('SELECT evc_cosign_checkpoint($1, $2)', [size, formatNote(given)])
  })
}

/** Of all signers, until the transaction ends. */
export async function lock(session: Session): Promise<void> {
  await session.query('SELECT pg_advisory_xact_lock($1)', [SIGN_LOCK])
}

export async function tryLock(session: Session): Promise<boolean> {
  const { rows } = await session.query<{ held: boolean }>('SELECT pg_try_advisory_xact_lock($1) AS held', [SIGN_LOCK])
  return rows[0]?.held === true
}
