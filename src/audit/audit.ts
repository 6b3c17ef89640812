/**
 * The audit service's promise: one method per event type, none of which ever throws into the caller or waits.
 *
 * Each builds the event from the arguments and the request context (given, or the current one), redacts and bounds it,
 * and appends it to the journal. Whoever must not answer before the record is durable awaits `settled()`.
 */
import type { RequestContext } from '../context/context.ts'
import type { Access, Incident, Reason, SystemReason } from '../event/catalogue.ts'
import type { AuditEvent } from '../event/event.ts'
import type { Acknowledgement } from '../journal/journal.ts'

/** Anything JSON can hold; deeper or larger than the limits is cut and marked, secrets are replaced. */
export type Metadata = Readonly<Record<string, unknown>>

export interface Audit {
  authSuccess(cpId: string, context?: RequestContext, metadata?: Metadata): void
  /**
   * Also counts the failure in the brute-force windows, unless the reason says that the secret was right (REVOKED,
   * OUT_OF_SERVICE): a charge point out of service that keeps calling is no attack. `statusCode` is what the caller was
   * answered (default 401).
   */
  authFail(
    cpId: string,
    context: RequestContext | undefined,
    reason: Reason,
    options?: { statusCode?: number; metadata?: Metadata },
  ): void
  statusChange(
    cpId: string,
    context: RequestContext | undefined,
    change: { oldStatus: string; newStatus: string; reason?: string | undefined; actor?: string | undefined },
  ): void
  keyGenerate(cpId: string, context: RequestContext | undefined, details?: KeyDetails): void
  keyReset(cpId: string, context: RequestContext | undefined, details?: KeyDetails): void
  keyRevoke(cpId: string, context: RequestContext | undefined, details?: KeyDetails): void
  validationError(
    who: string | undefined,
    context: RequestContext | undefined,
    violations: readonly { field: string; rule: string }[],
    statusCode?: number,
  ): void
  /** Class and safe message of the error only, never its stack. */
  error(who: string | undefined, context: RequestContext | undefined, error: unknown, metadata?: Metadata): void
  incident(
    who: string,
    context: RequestContext | undefined,
    incident: Incident,
    options?: { description?: string; statusCode?: number; metadata?: Metadata },
  ): void
  access(
    who: string,
    context: RequestContext | undefined,
    access: Access,
    options?: { description?: string; statusCode?: number; metadata?: Metadata },
  ): void
  system(reason: SystemReason, context?: RequestContext, options?: { description?: string; metadata?: Metadata }): void

  /** Whether the address or the charge point has reached the threshold within the window. Records nothing. */
  detectBruteForce(cpId: string, context?: RequestContext): boolean
  /**
   * The same; and when an episode begins or escalates, records its INCIDENT (once) and logs at fatal level.
   * `statusCode` is what the caller was answered (default 401).
   */
  detectAndReportBruteForce(cpId: string, context?: RequestContext, statusCode?: number): boolean
  /** Failures of a charge point within the window, as counted by `authFail`. */
  failuresInWindow(cpId: string): number

  /**
   * Appends an event that was built inside a transaction (outbox); true when the journal took it.
   */
  deliver(event: AuditEvent, outboxId: string): boolean

  /**
   * Resolves `durable` when every event recorded for the context so far is on disk, or `late` when the acknowledgement
   * time-out passed first. Never rejects.
   */
  settled(context?: RequestContext): Promise<Acknowledgement>
}

export interface KeyDetails {
  readonly version?: number
  readonly fingerprint?: string
  readonly reason?: string | undefined
  readonly actor?: string | undefined
}
