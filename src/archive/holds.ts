/**
 * Legal holds: while one lasts, segments that hold events of its time range stay in the database, and none of its events is erased.
 * Each change is one transaction with its SYSTEM event, so a hold cannot come or go without a word (store/retention.ts).
 */
import { system } from '../audit/events.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import type { AuditEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import { migrate } from '../postgres/migrations.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { patiently } from '../store/patience.ts'
import { createPostgresEventStore } from '../store/postgres-event-store.ts'
import { deleteHold, insertHold, readHolds } from '../store/postgres-holds.ts'
import { STORE_SCHEMA } from '../store/postgres-schema.ts'
import { addHold, type LegalHold, listHolds, removeHold } from '../store/retention.ts'
import { createSqliteEventStore } from '../store/sqlite-event-store.ts'

type NewHold = Pick<LegalHold, 'start_time' | 'end_time' | 'reason'>

/** Holds from when this resolves: a segment that overlaps does not leave any more. @throws {Refusal} STORE_UNAVAILABLE */
export async function placeHold(auditDatabase: string, hold: NewHold, actor: string): Promise<LegalHold> {
  let placed: LegalHold | undefined
  await change(auditDatabase, db => {
    refuseTooMany(listHolds(db))
    placed = addHold(db, { ...hold, placed_by: actor, placed_at: new Date().toISOString() })
    return placedEvent(placed, actor)
  })
  return placed as LegalHold
}

/** @throws {Refusal} HOLD_NOT_FOUND, STORE_UNAVAILABLE */
export async function liftHold(auditDatabase: string, id: number, actor: string): Promise<LegalHold> {
  let lifted: LegalHold | undefined
  await change(auditDatabase, db => {
    lifted = removeHold(db, id)
    return lifted && liftedEvent(lifted, actor)
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

/** Holds of a trail in PostgreSQL. A connection that is lost in the commit is a StoreError: whoever asked has to look. */

export async function listSharedHolds(url: string): Promise<LegalHold[]> {
  await using postgres = createPostgres({ url, connectionsMax: 1 })
  await migrate(postgres, STORE_SCHEMA)
  return await postgres.use(readHolds)
}

/** As `placeHold`. @throws {StoreError} */
export async function placeSharedHold(url: string, hold: NewHold, actor: string): Promise<LegalHold> {
  let placed: LegalHold | undefined
  await changeShared(url, async session => {
    refuseTooMany(await readHolds(session))
    placed = await insertHold(session, { ...hold, placed_by: actor, placed_at: new Date().toISOString() })
    return { event: placedEvent(placed, actor) }
  })
  return placed as LegalHold
}

/** As `liftHold`. @throws {Refusal} HOLD_NOT_FOUND. @throws {StoreError} */
export async function liftSharedHold(url: string, id: number, actor: string): Promise<LegalHold> {
  let lifted: LegalHold | undefined
  await changeShared(url, async session => {
    lifted = await deleteHold(session, id)
    return lifted && { event: liftedEvent(lifted, actor) }
  })
  if (lifted === undefined) throw new Refusal('HOLD_NOT_FOUND')
  return lifted
}

type SharedWork = Parameters<ReturnType<typeof createPostgresEventStore>['record']>[0]

/** Once: what may have been committed is not to be done again. */
async function changeShared(url: string, work: SharedWork): Promise<void> {
  const store = createPostgresEventStore({ url })
  try {
    await store.record(work)
  } finally {
    await store.close()
  }
}

function refuseTooMany(holds: readonly LegalHold[]): void {
  if (holds.length >= LIMITS.legalHoldsMax) throw new Refusal('VALIDATION_FAILED', 'Too many legal holds.')
}

function placedEvent({ id, start_time, end_time, reason }: LegalHold, actor: string): AuditEvent {
  return system('HOLD_PLACED', createContext(), {
    description: `Legal hold ${id} keeps the events of ${start_time} to ${end_time}: ${reason}`,
    metadata: { hold: id, start_time, end_time, reason, actor },
  })
}

function liftedEvent({ id, start_time, end_time, reason, placed_by }: LegalHold, actor: string): AuditEvent {
  return system('HOLD_LIFTED', createContext(), {
    description: `Legal hold ${id} on the events of ${start_time} to ${end_time} ended: ${reason}`,
    metadata: { hold: id, start_time, end_time, reason, placed_by, actor },
  })
}
