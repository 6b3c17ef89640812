/** What a signer's host and its thread say to each other. */
import type { KeyFolders } from './key-files.ts'
import type { Outcome } from './signer.ts'

export interface SignerThreadData {
  readonly storePath: string
  readonly folders: KeyFolders
}

export type SignerMessage = 'sign' | { readonly cosign: string } | 'close'

/** Answers each `sign`. */
export type SignerAnswer = Outcome
