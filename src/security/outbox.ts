/**
 * The outbox: a change of state and its event are never one without the other.
 *
 *   1. the change and its event are committed together        crash before: neither happened
 *   2. the event is appended to the journal                   crash before: the row is delivered at the next start
 *   3. the journal reports the event durable, and where the   crash before: the same; the journal may have it already
 *      state outlives this machine, the event is a row there
 *   4. the row is deleted                                     crash before: the same
 *
 * So an event may be appended more than once, always under the uuid of its row, and the indexer writes one row per uuid,
 * ever. Rows go out in the order of their ids. Rows that another process wrote are found by a poll. Owns the position up
 * to which rows were handed over; must not hand over a row out of order, nor delete one that is not durable.
 */
import { randomUUIDv7 } from 'node:crypto'
import type { Audit } from '../audit/audit.ts'
import type { AuditLogger } from '../audit/audit-service.ts'
import { createContext, currentContext, type RequestContext, runInContext } from '../context/context.ts'
import type { AuditEvent } from '../event/event.ts'
import type { ChangeClass, FailurePolicy } from './failure-policy.ts'
import type { SecurityState, StateTransaction } from './security-state.ts'
import { createTrouble } from './trouble.ts'

/** What a change may do: read and write the state, and record the events that belong to it. */
export interface ChangeTransaction extends StateTransaction {
  record(event: AuditEvent): Promise<void>
}

/**
 * Runs a change (see SecurityState.change) and hands its events over before it resolves.
 * @throws {Refusal} AUDIT_UNAVAILABLE, STATE_UNAVAILABLE: nothing was changed; and whatever `work` throws.
 */
export type Change = <T>(kind: ChangeClass, work: (transaction: ChangeTransaction) => Promise<T>) => Promise<T>

export interface Outbox {
  readonly change: Change
  /** Hands over what is there. Never rejects: what cannot be handed over now stays and is tried again. */
  deliver(): Promise<void>
  /** Deletes what was handed over, and says whether it could: not before it is durable. Never rejects. */
  trim(): Promise<boolean>
}

const ROWS_AT_ONCE = 100

export function createOutbox(deps: {
  state: Pick<SecurityState, 'change' | 'outbox' | 'deleteOutbox'>
  audit: Pick<Audit, 'deliver' | 'settled'>
  policy: FailurePolicy
  logger: Pick<AuditLogger, 'warn'>
  /** Whether what was handed over, and is durable in the journal, is as safe as the state is. Left out: it is. */
  isSafe?: (() => Promise<boolean>) | undefined
}): Outbox {
  const { state, audit, policy, logger, isSafe = async () => true } = deps
  /** Rows without a request of this process: found at start or written by another process. */
  const background = createContext()
  /** The request each row of ours belongs to, until it is handed over: its answer waits for the record. */
  const owners = new Map<string, RequestContext>()
  const reading = createTrouble(logger, 'the outbox could not be read; it is tried again')
  const trimming = createTrouble(logger, 'the outbox could not be trimmed; it is tried again')
  let handedOver = 0
  let deleted = 0
  let lastOwner = background
  let delivering: Promise<void> = Promise.resolve()

  async function change<T>(kind: ChangeClass, work: (transaction: ChangeTransaction) => Promise<T>): Promise<T> {
    await policy.admit(kind)
    const uuids: string[] = []
    const owner = currentContext()
    try {
      const result = await state.change(transaction =>
        work({
          ...transaction,
          async record(event) {
            const uuid = randomUUIDv7()
            uuids.push(uuid)
            if (owner !== undefined) owners.set(uuid, owner) // before the commit, as the poll may come first
            await transaction.addToOutbox(uuid, event)
          },
        }),
      )
      await deliver()
      return result
    } catch (error) {
      for (const uuid of uuids) owners.delete(uuid)
      throw error
    }
  }

  function deliver(): Promise<void> {
    delivering = delivering.then(handOver)
    return delivering
  }

  async function handOver(): Promise<void> {
    try {
      for (;;) {
        const rows = await state.outbox(handedOver, ROWS_AT_ONCE)
        for (const { id, uuid, event } of rows) {
          const owner = owners.get(uuid) ?? background
          if (!runInContext(owner, () => audit.deliver(event, uuid))) return
          owners.delete(uuid)
          handedOver = id
          lastOwner = owner
        }
        if (rows.length < ROWS_AT_ONCE) break
      }
      reading.isOver()
    } catch (error) {
      reading.began(error)
    }
  }

  async function trim(): Promise<boolean> {
    const through = handedOver
    if (through === deleted) return true
    try {
      // The journal keeps order: if the last one is durable, so are those before it. Late is not durable: keep the rows.
      const outcome: unknown = await audit.settled(lastOwner)
      if (outcome === 'late' || !(await isSafe())) return false
      await state.deleteOutbox(through)
      deleted = through
      trimming.isOver()
      return true
    } catch (error) {
      trimming.began(error)
      return false
    }
  }

  return { change, deliver, trim }
}
