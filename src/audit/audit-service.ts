/**
 * The audit service: turns what happened into journal records.
 *
 * Promise: no method throws or waits, whatever its arguments are. An event the journal cannot take now (its bounded
 * queue is full) is counted, logged and declared as one SYSTEM / LOSS_DECLARED event as soon as there is room again,
 * whether or not another event comes: lost perhaps, never silently. An event that was taken has a number (journal id,
 * sequence) that the indexer follows without a gap; a lost one has none, so its declaration says how many, from when
 * to when. A process that ends first leaves the declaration to the journal (`declaration`).
 * Owns the brute-force detector, whose windows the monotonic clock measures, and the count of undeclared losses.
 */
import type { BaseLogger } from 'pino'
import { createContext, currentContext, type RequestContext } from '../context/context.ts'
import { counted } from '../counted.ts'
import { INCIDENT, NOT_A_GUESS } from '../event/catalogue.ts'
import { type Clock, pastByMonotonic, systemClock } from '../event/clock.ts'
import { formatEntry } from '../event/codec.ts'
import type { AuditEvent } from '../event/event.ts'
import { type Acknowledgement, type Journal, JournalError } from '../journal/journal.ts'
import type { Audit } from './audit.ts'
import type { BruteForceReport, Detector } from './detector.ts'
import * as events from './events.ts'
import { loggableError } from './redaction.ts'

export type AuditLogger = Pick<BaseLogger, 'fatal' | 'error' | 'warn' | 'info' | 'debug'>

/** How soon after there is room. */
const DECLARE_MS = 250

const NOTHING_TO_WAIT_FOR: Promise<Acknowledgement> = Promise.resolve('durable')

export interface AuditService extends Audit {
  /** Feeds AUTH_FAIL and BRUTE_FORCE_SUSPECTED events of before, oldest first, back into the detector after a restart. */
  replay(past: readonly AuditEvent[]): void
  /** The record that declares the losses that are not declared yet; undefined when there are none. */
  declaration(): string | undefined
  status(): { recorded: number; lost: number; undeclaredLosses: number; detectorSubjects: number }
}

export function createAuditService(deps: {
  /** One without a status takes a declaration at any time. */
  journal: Pick<Journal, 'append' | 'acknowledged'> & Partial<Pick<Journal, 'status'>>
  detector: Detector
  logger: AuditLogger
  windowSeconds: number
  clock?: Clock
}): AuditService {
  const { journal, detector, logger, clock = systemClock } = deps
  /** The last record of each context, so that its answer can wait for it. */
  const lastRecord = new WeakMap<RequestContext, number>()
  let recorded = 0
  let lost = 0
  let undeclared: Loss | undefined
  let declaring: NodeJS.Timeout | undefined

  /** Runs one recording; whatever goes wrong in it ends here. */
  function record(context: RequestContext | undefined, build: () => AuditEvent): void {
    try {
      append(context, build(), null)
    } catch (error) {
      declareLater(error)
    }
  }

  function append(context: RequestContext | undefined, event: AuditEvent, outboxId: string | null): void {
    if (undeclared !== undefined) declareLoss() // first, so that its place in the order says when
    const sequence = journal.append(formatEntry(event, outboxId))
    recorded++
    const owner = context ?? currentContext()
    if (owner !== undefined) lastRecord.set(owner, sequence)
  }

  function declareLater(error: unknown): void {
    lost++
    const now = new Date(clock.wallMs()).toISOString()
    const durableSequence = journal.status?.().durableSequence ?? 0
    if (undeclared === undefined) {
      undeclared = { count: 1, since: now, until: now, durableSequence, text: undefined }
      declaring = setInterval(declareLoss, DECLARE_MS)
      declaring.unref()
      logger.error({ err: loggableError(error) }, 'an audit event could not be recorded')
    } else {
      undeclared.count++
      undeclared.until = now
      undeclared.durableSequence = durableSequence
      undeclared.text = undefined
    }
  }

  /**
   * Not in what is left of a full queue: there would be one for each event, and if the process ended they would be lost
   * with the rest of it, where the journal's reserve declares them all at once.
   */
  function isRoomFor(loss: Loss): boolean {
    if (journal.status === undefined) return true
    const { phase, durableSequence, appendedSequence } = journal.status()
    return phase !== 'stalled' && (durableSequence > loss.durableSequence || durableSequence === appendedSequence)
  }

  function declareLoss(): void {
    if (undeclared === undefined || !isRoomFor(undeclared)) return
    const { count } = undeclared
    try {
      journal.append(declarationOf(undeclared))
    } catch (error) {
      // Still full: tried again. A closed journal has declared it as its last record.
      if (error instanceof JournalError && error.code === 'CLOSED') clearInterval(declaring)
      return
    }
    undeclared = undefined
    clearInterval(declaring)
    logger.fatal({ count }, 'audit events were lost; the loss is declared in the trail')
  }

  function report(
    cpId: string,
    context: RequestContext | undefined,
    found: BruteForceReport,
    statusCode: number,
  ): void {
    const from = context ?? currentContext()
    record(context, () => events.bruteForce(cpId, from, found, deps.windowSeconds, statusCode))
    const { scope, failureCount, distinctCpIds } = found
    const report = {
      scope,
      ip: from?.ip ?? '-',
      cp_id: cpId,
      failure_count: failureCount,
      distinct_cp_ids: distinctCpIds,
    }
    logger.fatal({ ...report, request_id: from?.requestId }, 'brute force attack suspected')
  }

  const ipOf = (context: RequestContext | undefined) => (context ?? currentContext())?.ip ?? '-'

  return {
    authSuccess(cpId, context, metadata) {
      record(context, () => events.authSuccess(cpId, context, metadata))
    },
    authFail(cpId, context, reason, options = {}) {
      record(context, () => events.authFail(cpId, context, reason, options.statusCode, options.metadata))
      if (!NOT_A_GUESS.has(reason)) detector.fail(ipOf(context), cpId, clock.monotonicMs())
    },
    statusChange(cpId, context, change) {
      record(context, () => events.statusChange(cpId, context, change))
    },
    keyGenerate(cpId, context, details) {
      record(context, () => events.keyEvent('KEY_GENERATE', cpId, context, details))
    },
    keyReset(cpId, context, details) {
      record(context, () => events.keyEvent('KEY_RESET', cpId, context, details))
    },
    keyRevoke(cpId, context, details) {
      record(context, () => events.keyEvent('KEY_REVOKE', cpId, context, details))
    },
    validationError(who, context, violations, statusCode) {
      record(context, () => events.validationError(who, context, violations, statusCode))
    },
    error(who, context, error, metadata) {
      record(context, () => events.errorEvent(who, context, error, metadata))
    },
    incident(who, context, incident, options) {
      record(context, () => events.incident(who, context, incident, options))
      logger.warn({ who, incident, request_id: (context ?? currentContext())?.requestId }, 'security incident')
    },
    access(who, context, access, options) {
      record(context, () => events.access(who, context, access, options))
    },
    system(reason, context, options) {
      record(context, () => events.system(reason, context, options))
    },

    detectBruteForce(cpId, context) {
      return detector.isSuspected(ipOf(context), cpId, clock.monotonicMs())
    },
    detectAndReportBruteForce(cpId, context, statusCode = 401) {
      const ip = ipOf(context)
      const now = clock.monotonicMs()
      const found = detector.due(ip, cpId, now)
      if (found !== undefined) {
        report(cpId, context, found, statusCode)
        detector.markReported(ip, cpId, now)
      }
      return detector.isSuspected(ip, cpId, now)
    },
    failuresInWindow: cpId => detector.failuresInWindow('cp_id', cpId, clock.monotonicMs()),

    deliver(event, outboxId) {
      try {
        append(undefined, event, outboxId)
        return true
      } catch {
        return false // it stays in the outbox and is offered again
      }
    },
    settled(context) {
      const owner = context ?? currentContext()
      const sequence = owner === undefined ? undefined : lastRecord.get(owner)
      return sequence === undefined ? NOTHING_TO_WAIT_FOR : journal.acknowledged(sequence)
    },

    replay(past) {
      const monotonic = pastByMonotonic(clock)
      for (const event of past) {
        const at = monotonic(Date.parse(event.date_time))
        if (event.action === 'AUTH_FAIL') {
          if (!NOT_A_GUESS.has(event.reason_code)) detector.fail(event.ip, event.who, at)
        } else if (event.reason_code === INCIDENT.BRUTE_FORCE_SUSPECTED) detector.markReported(event.ip, event.who, at)
      }
    },
    declaration: () => (undeclared === undefined ? undefined : declarationOf(undeclared)),
    status: () => ({
      recorded,
      lost,
      undeclaredLosses: undeclared?.count ?? 0,
      detectorSubjects: detector.size,
    }),
  }
}

/** Events that no journal took. */
interface Loss {
  count: number
  readonly since: string
  until: string
  /** How far the journal was when the last of them was lost. */
  durableSequence: number
  /** The record that declares it, once it was made. */
  text: string | undefined
}

function declarationOf(loss: Loss): string {
  const { count, since, until } = loss
  const description = `${counted(count, 'event')} could not be recorded between ${since} and ${until}`
  loss.text ??= formatEntry(
    events.system('LOSS_DECLARED', createContext(), { description, metadata: { count, since, until } }),
  )
  return loss.text
}
