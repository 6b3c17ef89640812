/** What a reader host and its threads say to each other. */
import type { ErrorCode, Violation } from '../errors.ts'
import type { StoreLocation } from '../store/location.ts'
import type { Question } from './timed-event-queries.ts'

export interface ReaderThreadData {
  readonly store: StoreLocation
}

export interface AskMessage {
  readonly number: number
  readonly question: Question
  readonly asked: unknown
  /** When the host gives up: epoch milliseconds, of the monotonic clock (`performance.timeOrigin + performance.now()`). */
  readonly expiresAt: number
}

export type Reply =
  | { readonly number: number; readonly answer: unknown }
  | { readonly number: number; readonly refusal: RefusalMessage }
  /** An error that is no refusal: a mistake of ours. */
  | { readonly number: number; readonly defect: string }

export interface RefusalMessage {
  readonly code: ErrorCode
  readonly detail?: string | undefined
  /** What the database said. */
  readonly cause?: string | undefined
  readonly retryAfterSeconds?: number | undefined
  readonly violations?: readonly Violation[] | undefined
}
