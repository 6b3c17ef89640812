/**
 * What signs the log, and what was signed: the chain of keys, those that sign now, checkpoints. So the log goes on under the same
 * origin and keys, and whoever knows an old checkpoint can be shown that a new one continues it.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { isRotationUnderWay, type KeyFolders, readKeyChain, readPrivateKey } from '../checkpoint/key-files.ts'
import { type KeyWrap, keepSharedKey } from '../checkpoint/postgres-keys.ts'
import { Refusal } from '../errors.ts'
import { currentKeys, formatKeyChain, type KeyChain, listKeys, openByChain } from '../evidence/key-chain.ts'
import type { TreeHead } from '../evidence/merkle-proof.ts'
import type { Session } from '../postgres/postgres.ts'

interface SignedCheckpoint extends TreeHead {
  readonly note: string
}

export interface Signing {
  readonly chain: KeyChain
  /** Of the keys that sign now, by their ids. Those before them sign nothing again. */
  readonly privateKeys: ReadonlyMap<string, Uint8Array>
  /** The last one, and when it was signed. */
  readonly newest: SignedCheckpoint
  readonly signedAt: Date
  /** The newest that was kept as witnessed. */
  readonly witnessed: SignedCheckpoint | undefined
  /** Those before the newest that were kept, by size. */
  readonly history: readonly SignedCheckpoint[]
}

/** @throws {Refusal} MIGRATION_REFUSED, LOG_KEYS_UNUSABLE */
export function readSigning(folders: KeyFolders): Signing {
  const chain = readKeyChain(folders)
  const file = join(folders.log, 'checkpoint')
  if (chain === undefined || !existsSync(file)) {
    throw new Refusal(
      'MIGRATION_REFUSED',
      'Nothing of this log was signed yet: start the service on the folder once, and stop it.',
    )
  }
  if (isRotationUnderWay(folders)) {
    throw new Refusal(
      'MIGRATION_REFUSED',
      'A key rotation is not finished: start the service on the folder once, and stop it.',
    )
  }
  const newest = open(readFileSync(file, 'utf8'), chain)
  if (newest === undefined) throw new Refusal('MIGRATION_REFUSED', `${file} is not a checkpoint of this log.`)
  const history = new Map<number, SignedCheckpoint>()
  for (const note of [...readHistory(folders), ...readWitnessed(folders)]) {
    const checkpoint = open(note, chain) // a line that a crash tore is none
    if (checkpoint !== undefined && checkpoint.size < newest.size) history.set(checkpoint.size, checkpoint)
  }
  return {
    chain,
    privateKeys: new Map(listKeys(currentKeys(chain)).map(key => [key.id, readPrivateKey(folders, key)])),
    newest,
    signedAt: statSync(file).mtime,
    witnessed: readWitnessed(folders).map(note => open(note, chain))[0],
    history: [...history.values()],
  }
}

/** In a transaction of the caller's, into empty tables. When those of the history were signed is not known any more. */
export async function copySigning(session: Session, signing: Signing, keys: KeyWrap): Promise<void> {
  const { chain, privateKeys, newest, signedAt, witnessed, history } = signing
  await session.query('INSERT INTO log_key_chain (chain) VALUES ($1)', [formatKeyChain(chain)])
  for (const [id, privateKey] of privateKeys) await keepSharedKey(session, keys, id, privateKey)
  await session.query(
    "INSERT INTO log_checkpoints SELECT size, note, 'epoch' FROM unnest($1::bigint[], $2::text[]) AS kept (size, note)",
    [history.map(({ size }) => size), history.map(({ note }) => note)],
  )
  await session.query('INSERT INTO log_checkpoints VALUES ($1, $2, $3)', [newest.size, newest.note, signedAt])
  if (witnessed === undefined) return
  await session.query('INSERT INTO log_witnessed (size, note) VALUES ($1, $2)', [witnessed.size, witnessed.note])
}

function open(note: string, chain: KeyChain): SignedCheckpoint | undefined {
  const opened = openByChain(note, chain)
  return opened.isTrusted ? { ...opened.checkpoint, note } : undefined
}

function readHistory({ log }: KeyFolders): string[] {
  const file = join(log, 'checkpoints')
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8').split('\n').flatMap(parseLine)
}

function readWitnessed({ log }: KeyFolders): string[] {
  const file = join(log, 'witnessed')
  return existsSync(file) ? [readFileSync(file, 'utf8')] : []
}

function parseLine(line: string): string[] {
  try {
    const note: unknown = JSON.parse(line)
    return typeof note === 'string' ? [note] : []
  } catch {
    return []
  }
}
