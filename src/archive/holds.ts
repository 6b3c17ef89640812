/**
 * Legal holds: while one lasts, segments that hold events of its time range stay in the database. Each change is one
 * transaction with its SYSTEM event, so a hold cannot come or go without a word (store/retention.ts).
 */
import { system } from '../audit/events.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { patiently } from '../store/patience.ts'
import { addHold, type LegalHold, listHolds, removeHold } from '../store/retention.ts'
import { createSqliteEventStore } from '../store/sqlite-event-store.ts'

/** Holds from when this resolves: a segment that overlaps does not leave any more. @throws {Refusal} STORE_UNAVAILABLE */
export async function placeHold(
  auditDatabase: string,
  hold: Pick<LegalHold, 'start_time' | 'end_time' | 'reason'>,
  actor: string,
): Promise<LegalHold> {
  let placed: LegalHold | undefined
  await change(auditDatabase, db => {
    if (listHolds(db).length >= LIMITS.legalHoldsMax) throw new Refusal('VALIDATION_FAILED', 'Too many legal holds.')
    placed = addHold(db, { ...hold, placed_by: actor, placed_at: new Date().toISOString() })
    const { id, start_time, end_time, reason } = placed
    return system('HOLD_PLACED', createContext(), {
      description: `Legal hold ${id} keeps the events of ${start_time} to ${end_time}: ${reason}`,
      metadata: { hold: id, start_time, end_time, reason, actor },
    })
  })
  return placed as LegalHold
}

/** @throws {Refusal} HOLD_NOT_FOUND, STORE_UNAVAILABLE */
export async function liftHold(auditDatabase: string, id: number, actor: string): Promise<LegalHold> {
  let lifted: LegalHold | undefined
  await change(auditDatabase, db => {
    lifted = removeHold(db, id)
    if (lifted === undefined) return undefined
    const { start_time, end_time, reason, placed_by } = lifted
    return system('HOLD_LIFTED', createContext(), {
      description: `Legal hold ${id} on the events of ${start_time} to ${end_time} ended: ${reason}`,
      metadata: { hold: id, start_time, end_time, reason, placed_by, actor },
    })
  })
  if (lifted === undefined) throw new Refusal('HOLD_NOT_FOUND')
  return lifted
}

type Work = Parameters<ReturnType<typeof createSqliteEventStore>['record']>[0]

async function change(auditDatabase: string, work: Work): Promise<void> {
  const store = createSqliteEventStore({ path: auditDatabase })
  try {
    await patiently(() => store.record(work))
  } finally {
    await store.close()
  }
}
