/** What a log builder's host and its thread say to each other. */
import type { MessagePort } from 'node:worker_threads'
import type { LogGrowth, LogState } from './log-builder.ts'

export const ANSWERED = 0
export const TAKEN = 1

export interface LogThreadData {
  /** Of the log's files; undefined when full tiles are not files but come back with each growth. */
  readonly root: string | undefined
  /**
   * Two Int32, counted up and notified: with each answer, and with each message of records that was taken. The host waits for them
   * without its event loop.
   */
  readonly turns: SharedArrayBuffer
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

export type LogMessage = { readonly resume: LogState } | LogRecords | 'finish' | 'sync' | 'close'

/** To `finish`, or to the last records of a batch. */
export interface LogGrown {
  readonly growth: LogGrowth
}

/** To `sync`. */
export interface LogSynced {
  readonly syncedSize: number
}

export interface LogFailed {
  readonly failed: {
    readonly message: string
    readonly code?: string | undefined
    readonly syscall?: string | undefined
  }
}

export type LogAnswer = LogGrown | LogSynced | LogFailed
