/** What came of an attempt to sign, wherever the log lies. */

/** Why nothing is signed any more, until somebody looks. */
export type RefusalCause = 'ROLLED_BACK' | 'FORKED' | 'BYTES_DIFFER' | 'CLOCK_BACK' | 'CHECKPOINT_DAMAGED'

export type Outcome =
  | { readonly kind: 'signed'; readonly size: number; readonly note: string }
  | { readonly kind: 'nothing-new'; readonly size: number; readonly note: string }
  | { readonly kind: 'refused'; readonly cause: RefusalCause; readonly detail: string }
  /** Try again later. `isLasting`: that will not pass by itself. */
  | { readonly kind: 'unavailable'; readonly detail: string; readonly isLasting?: boolean }

export function refuse(cause: RefusalCause, detail: string): Outcome {
  return { kind: 'refused', cause, detail }
}
