/** What an archiver's host and its thread say to each other. */
import type { ErrorCode } from '../errors.ts'
import type { StoreLocation } from '../store/location.ts'

export interface ArchiveThreadData {
  readonly store: StoreLocation
  readonly directory: string
  readonly beforeMs: number
}

export type ArchiveMessage =
  | {
      readonly archived: number
      readonly held: number
      /** How many wait for a checkpoint. */
      readonly unsigned: number
      /** Of the event database; left out where that is a server's. */
      readonly bytesBefore?: number
      readonly bytesAfter?: number
    }
  | { readonly code: ErrorCode | undefined; readonly detail: string }
