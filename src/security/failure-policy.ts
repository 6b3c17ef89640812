/**
 * Whether a change of state may happen while its event would have to wait (EVC_STRICT_EVENTS), by class of change:
 *
 *   keys    KEY_GENERATE, KEY_RESET, KEY_REVOKE
 *   status  STATUS_CHANGE, and the KEY_REVOKE that comes with a revocation
 *   admin   ADMIN_ADDED, ADMIN_REVOKED, CP_REGISTERED, CP_DELETED, CREDENTIALS_ISSUED: who may get in at all
 *
 * *Open* (the default): the change happens; its event waits in the outbox, on disk. *Strict*: no durable record, no change:
 * 503 AUDIT_UNAVAILABLE before anything is touched.
 *
 * Promise, for both: a change and its event are never one without the other. The order of durable steps is that of the
 * outbox (outbox.ts), and the second is the only one that a strict change depends on:
 *
 *   1. the journal is asked: it is being written, all it took is on disk, there is room    no: refused, nothing written
 *   2. the change and its outbox row are committed in one transaction, with an fsync       killed before: neither; after: both
 *   3. the event goes to the journal, then the outbox row is deleted                       killed before: at the next start
 *
 * The journal may stall between 1 and 2, or be found broken only at 3. Then the change stands, with its record: the outbox
 * row is as durable as the change is, since it is the same fsync of the same file, and it is handed over when the journal is
 * back. The next strict change is refused. So 1 keeps changes from resting on the outbox for longer than it takes to notice;
 * it is not what makes the pair whole.
 *
 * The command line has no journal. Its record is the outbox row, which the running server, or the next one, hands
 * over: for it, 1 always holds.
 */
import { Refusal } from '../errors.ts'

export type ChangeClass = 'keys' | 'status' | 'admin'

export interface FailurePolicy {
  /** @throws {Refusal} AUDIT_UNAVAILABLE: the class is strict and its event could not be recorded now. */
  admit(kind: ChangeClass): Promise<void>
}

/** About as often as a journal that is waiting for its disk tries again. */
const RETRY_AFTER_SECONDS = 2

/** @param isRecording whether an event handed over now would be on disk soon. Asked for strict classes only. */
export function createFailurePolicy(
  strict: readonly ChangeClass[],
  isRecording: () => Promise<boolean>,
): FailurePolicy {
  return {
    async admit(kind) {
      if (!strict.includes(kind) || (await isRecording())) return
      throw new Refusal('AUDIT_UNAVAILABLE', undefined, { retryAfterSeconds: RETRY_AFTER_SECONDS })
    },
  }
}
