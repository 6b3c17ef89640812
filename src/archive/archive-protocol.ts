/** What an archiver's host and its thread say to each other. */
import type { ErrorCode } from '../errors.ts'

export interface ArchiveThreadData {
  readonly auditDatabase: string
  readonly directory: string
  readonly lockFile: string
  readonly beforeMs: number
}

export type ArchiveMessage =
  | {
      readonly archived: number
      readonly held: number
      /** How many wait for a checkpoint. */
      readonly unsigned: number
      readonly bytesBefore: number
      readonly bytesAfter: number
    }
  | { readonly code: ErrorCode | undefined; readonly detail: string }
