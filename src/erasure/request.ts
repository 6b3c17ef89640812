/** What is asked of an erasure and what it answers, wherever the trail is: what is refused, and what the tombstone says. Pure. */
import { system } from '../audit/events.ts'
import { createContext } from '../context/context.ts'
import { counted } from '../counted.ts'
import { Refusal } from '../errors.ts'
import type { AuditEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import { digestOfIds, type HeldRow } from '../store/erasures.ts'
import type { LegalHold } from '../store/retention.ts'
import { type Subject, textHolds } from '../store/subject.ts'

export interface ErasureRequest {
  readonly subject: Subject
  readonly reason: string
  readonly actor: string
}

export interface Erased {
  readonly erased: number
  /** The tombstone; null when no row held the subject. */
  readonly eventId: number | null
  /** Numbers of archives that are not at hand and were not looked into. */
  readonly archivesMissing: readonly number[]
  /**
   * Journals of instances that are away: cleared when they return. What they hold that is no row yet was not erased: to be asked
   * for again then.
   */
  readonly journalsBehind: readonly string[]
}

export interface ErasurePlan {
  readonly rows: number
  readonly refusal: Refusal | undefined
}

/** Names that stand for nobody. */
const NOBODY: ReadonlySet<string> = new Set(['system', 'unknown', '-'])

/** The tombstone stays for ever, so it must not name the subject. @throws {Refusal} VALIDATION_FAILED */
export function refuseNames({ subject, reason, actor }: ErasureRequest): void {
  const refuse = (field: string, rule: string) => {
    throw new Refusal('VALIDATION_FAILED', undefined, { violations: [{ field, rule }] })
  }
  if (NOBODY.has(subject.name)) refuse(subject.kind, 'names_nobody')
  if (textHolds(reason, subject)) refuse('reason', 'names_the_subject')
  if (textHolds(actor, subject)) refuse(subject.kind, 'is_who_asks')
}

/** @param found where the security state names the subject. @throws {Refusal} SUBJECT_IN_USE */
export function refuseNamed(found: 'registered' | 'location' | undefined): void {
  if (found === 'registered') throw new Refusal('SUBJECT_IN_USE')
  if (found === 'location') {
    throw new Refusal('SUBJECT_IN_USE', 'Nothing was erased. The location of a charge point names the subject.')
  }
}

/** @throws {Refusal} LEGAL_HOLD */
export function refuseBy(hold: LegalHold | undefined): void {
  if (hold === undefined) return
  const { id, start_time, end_time } = hold
  const detail = `Nothing was erased. Legal hold ${id} keeps the events of ${start_time} to ${end_time}.`
  throw new Refusal('LEGAL_HOLD', detail)
}

/** Says how many and why; never whom. @param rows ascending @param manifests digests of the archives' new ones, by number */
export function tombstoneOf(
  rows: readonly HeldRow[],
  { reason, actor }: ErasureRequest,
  {
    manifests = {},
    copies = 0,
  }: { readonly manifests?: Readonly<Record<string, string>>; readonly copies?: number } = {},
): AuditEvent {
  const archives = Object.keys(manifests).length
  const files = {
    ...(archives === 0 ? {} : { archives }),
    // More would not fit into the metadata of an event; then only the table of archives says which they are.
    ...(archives === 0 || archives > LIMITS.tombstoneManifestsMax ? {} : { manifests }),
    ...(copies === 0 ? {} : { damaged_copies: copies }),
  }
  return system('ERASED', createContext(), {
    description: `${counted(rows.length, 'event was erased', 'events were erased')}: ${reason}`,
    metadata: { count: rows.length, ids_sha256: digestOfIds(rows), ...files, reason, actor },
  })
}

export const inOrder = (rows: readonly HeldRow[]) => rows.toSorted((a, b) => a.id - b.id)
