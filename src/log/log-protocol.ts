/** What a log builder's host and its thread say to each other. */
import type { MessagePort } from 'node:worker_threads'
import type { LogGrowth, LogState } from './log-builder.ts'

export interface LogThreadData {
  /** Of the log's files; undefined when full tiles are not files but come back with each growth. */
  readonly root: string | undefined
  /** One Int32, counted up and notified with each answer: the host waits for it without its event loop. */
  readonly answered: SharedArrayBuffer
  readonly port: MessagePort
}

/** Journal records of consecutive rows. */
export interface LogRecords {
  readonly firstId: number
  readonly createdAt: string
  readonly records: readonly string[]
  /** The last of a batch. */
  readonly isLast: boolean
}

export type LogMessage = { readonly resume: LogState } | LogRecords | 'finish' | 'close'

export type LogAnswer =
  | { readonly growth: LogGrowth }
  | {
      readonly failed: {
        readonly message: string
        readonly code?: string | undefined
        readonly syscall?: string | undefined
      }
    }
