/**
 * Who waits for which record, and until when.
 *
 * All records appended in one turn of the event loop form a group with, at most, one promise and one timer, made when the
 * first waiter comes. Groups are kept in order until they are durable, so there are never more of them than
 * queued records. Knows sequences and time only.
 */
import type { Acknowledgement } from './journal.ts'

const DURABLE: Promise<Acknowledgement> = Promise.resolve('durable')
const LATE: Promise<Acknowledgement> = Promise.resolve('late')

interface Group {
  readonly startedMs: number
  lastSequence: number
  isLate: boolean
  waiters: number
  promise: Promise<Acknowledgement> | undefined
  resolve: ((how: Acknowledgement) => void) | undefined
  timer: NodeJS.Timeout | undefined
}

export interface Acknowledgements {
  /** A record was appended. */
  appended(sequence: number): void
  /** The turn is over: the next record starts a group of its own. */
  endTurn(): void
  /** Everything up to the sequence is durable. */
  durable(sequence: number): void
  wait(sequence: number): Promise<Acknowledgement>
  lateCount(): number
  /** Nothing more will become durable: whoever still waits is told `late`. */
  close(): void
}

export function createAcknowledgements(timeoutMs: number, alreadyDurable: number): Acknowledgements {
  const groups: Group[] = []
  let turn: Group | undefined
  let durableSequence = alreadyDurable
  let late = 0

  function expire(group: Group): void {
    if (group.isLate) return
    group.isLate = true
    late += group.waiters
    clearTimeout(group.timer)
    group.resolve?.('late')
  }

  function join(group: Group): Promise<Acknowledgement> {
    if (group.promise === undefined) {
      const remainingMs = timeoutMs - (performance.now() - group.startedMs)
      if (remainingMs <= 0) expire(group)
    }
    if (group.isLate) {
      late++
      return LATE
    }
    group.waiters++
    if (group.promise !== undefined) return group.promise
    group.promise = new Promise(resolve => {
      group.resolve = resolve
    })
    const remainingMs = Math.ceil(timeoutMs - (performance.now() - group.startedMs))
    group.timer = setTimeout(expire, Math.max(1, remainingMs), group).unref()
    return group.promise
  }

  return {
    appended(sequence) {
      if (turn === undefined) {
        turn = {
          startedMs: performance.now(),
          lastSequence: sequence,
          isLate: false,
          waiters: 0,
          promise: undefined,
          resolve: undefined,
          timer: undefined,
        }
        groups.push(turn)
      } else {
        turn.lastSequence = sequence
      }
    },

    endTurn() {
      turn = undefined
    },

    durable(sequence) {
      durableSequence = sequence
      let count = 0
      for (const group of groups) {
        if (group.lastSequence > sequence) break
        clearTimeout(group.timer)
        if (!group.isLate) group.resolve?.('durable')
        count++
      }
      groups.splice(0, count)
    },

    wait(sequence) {
      if (sequence <= durableSequence) return DURABLE
      const newest = groups.at(-1)
      if (newest === undefined || sequence > newest.lastSequence) return LATE // never appended: never durable
      return join(findGroup(groups, sequence))
    },

    lateCount: () => late,

    close() {
      for (const group of groups) expire(group)
    },
  }
}

/** The first group that reaches the sequence: mostly the newest, for whoever appended just now. */
function findGroup(groups: readonly Group[], sequence: number): Group {
  let low = 0
  let high = groups.length - 1
  if (high > 0 && (groups[high - 1] as Group).lastSequence < sequence) low = high
  while (low < high) {
    const middle = (low + high) >> 1
    if ((groups[middle] as Group).lastSequence < sequence) low = middle + 1
    else high = middle
  }
  return groups[low] as Group
}
