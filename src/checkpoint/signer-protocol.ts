/** What a signer's host and its thread say to each other. */
import type { KeyFolders } from './key-files.ts'
import type { Outcome } from './outcome.ts'
import type { Watched } from './self-watch.ts'

export interface SignerThreadData {
  readonly storePath: string
  readonly folders: KeyFolders
}

export type SignerMessage =
  | 'sign'
  | { readonly watchMs: number }
  | { readonly cosign: string; readonly isWitnessed: boolean }
  | { readonly manifest: string }
  | 'close'

/** Answers each `sign`, each watch and each manifest, in order. */
export type SignerAnswer =
  | { readonly outcome: Outcome }
  | { readonly watched: Watched | undefined }
  | { readonly note: string | undefined }
