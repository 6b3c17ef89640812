/** What came of an attempt to sign, wherever the log lies. */
import { Refusal } from '../errors.ts'

/** Why nothing is signed any more, until somebody looks. */
export type RefusalCause = 'ROLLED_BACK' | 'FORKED' | 'BYTES_DIFFER' | 'CLOCK_BACK' | 'CHECKPOINT_DAMAGED'

export type Outcome =
  | { readonly kind: 'signed'; readonly size: number; readonly note: string }
  | { readonly kind: 'nothing-new'; readonly size: number; readonly note: string }
  | { readonly kind: 'refused'; readonly cause: RefusalCause; readonly detail: string }
  | Unavailable

/** Try again later. */
export interface Unavailable {
  readonly kind: 'unavailable'
  readonly detail: string
  /** It is for somebody to mend, as a private key that is gone, and will not pass by itself. */
  readonly isLasting?: boolean
}

export function refuse(cause: RefusalCause, detail: string): Outcome {
  return { kind: 'refused', cause, detail }
}

export function unavailable(error: Error): Unavailable {
  const isLasting = error instanceof Refusal && error.code === 'LOG_KEYS_UNUSABLE'
  return { kind: 'unavailable', detail: error.message, isLasting }
}
