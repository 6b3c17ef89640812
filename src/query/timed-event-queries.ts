/** `EventQueries` as the reader's thread has them: each with the time at which to give up. */
import type { EventQueries } from './event-queries.ts'
import type { Deadline } from './id-streams.ts'

export type Question = Exclude<keyof EventQueries, 'close'>
export type Asked<Q extends Question> = Parameters<EventQueries[Q]>[0]
export type Answer<Q extends Question> = Awaited<ReturnType<EventQueries[Q]>>

export type TimedEventQueries = {
  readonly [Q in Question]: (asked: Asked<Q>, deadline: Deadline) => Promise<Answer<Q>> | Answer<Q>
} & { close(): Promise<void> | void }

/** Those that answer at once. */
export type SyncEventQueries = {
  readonly [Q in Question]: (asked: Asked<Q>, deadline: Deadline) => Answer<Q>
} & { close(): void }
