/**
 * Signs for an evidence pack (evidence/pack-note.ts): in the signer's thread of a service, or in a command that has the data folder;
 * postgres-signer.ts does it for a log in PostgreSQL.
 *
 * Not a way to have anything signed: the text is made here, of a manifest that is one to the letter, of this log, with its keys
 * as they are now, and of a tree that was signed. Whoever asks chooses no word of it, and it is no text that means anything else.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Refusal } from '../errors.ts'
import { parseSignedCheckpoint } from '../evidence/checkpoint.ts'
import { sha256 } from '../evidence/crypto.ts'
import { encodeText, formatHex } from '../evidence/encoding.ts'
import { currentKeys, formatKeyChain, type KeyChain } from '../evidence/key-chain.ts'
import { parseManifest } from '../evidence/pack.ts'
import { formatPackNote } from '../evidence/pack-note.ts'
import { type KeyFolders, readKeyChain, readSigningKeys } from './key-files.ts'

/** Undefined: there is no private key here, or the manifest is none of this log; then the pack is made without. */
export function signManifest(folders: KeyFolders, manifest: string): string | undefined {
  try {
    const chain = readKeyChain(folders)
    if (chain === undefined || !isManifestOf(chain, signedSize(folders), manifest)) return undefined
    return formatPackNote(chain.first.name, encodeText(manifest), readSigningKeys(folders, currentKeys(chain)))
  } catch (error) {
    if (error instanceof Refusal || (error instanceof Error && 'syscall' in error)) return undefined
    throw error
  }
}

function signedSize({ log }: KeyFolders): number {
  const file = join(log, 'checkpoint')
  return existsSync(file) ? (parseSignedCheckpoint(readFileSync(file, 'utf8'))?.size ?? 0) : 0
}

/**
 * Whether the log with this chain may sign it, when its newest checkpoint is of this size. A key that took over since the pack
 * was begun is not in the pack's chain, so it may not sign for it.
 */
export function isManifestOf(chain: KeyChain, newestSize: number, manifest: string): boolean {
  const said = parseManifest(encodeText(manifest))
  if (typeof said !== 'object') return false
  const keys = formatHex(sha256(encodeText(formatKeyChain(chain))))
  return said.origin === chain.first.name && said.files.keys.sha256 === keys && said.tree_size <= newestSize
}
