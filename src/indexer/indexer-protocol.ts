/** What an indexer host and its thread say to each other. */
import type { StoreLocation } from '../store/location.ts'
import type { IndexerProgress } from './indexer.ts'

export interface IndexerThreadData {
  readonly journalDirectory: string
  readonly journalId: string
  readonly store: StoreLocation
  /** See `createIndexer`. */
  readonly openedSequence: number | undefined
  /** One BigInt64: the last durable sequence. The host stores and notifies, the thread waits; no message per event. */
  readonly durable: SharedArrayBuffer
  /** One BigInt64: the highest sequence somebody waits for. The host stores and notifies, the thread hurries. */
  readonly wanted: SharedArrayBuffer
}

export interface StopMessage {
  /** Goes on for as long while there are durable records that are no rows. */
  readonly drainMs: number
}

export type IndexerMessage =
  | { readonly progress: IndexerProgress }
  /** Rows of all records up to this one survive a power loss; the journal may drop them. */
  | { readonly trim: number }
  /** Rows cannot be counted for summaries now. */
  | { readonly countFailed: string }
