/**
 * The audit service: turns what happened into journal records.
 *
 * Promise: no method throws or waits, whatever its arguments are. An event the journal cannot take now (its bounded
 * queue is full) is counted, logged and declared as one SYSTEM / LOSS_DECLARED event as soon as there is room again:
 * lost perhaps, never silently. Owns the brute-force detector and the count of undeclared losses.
 */
import type { BaseLogger } from 'pino'
import { currentContext, type RequestContext } from '../context/context.ts'
import { INCIDENT } from '../event/catalogue.ts'
import { formatEntry } from '../event/codec.ts'
import type { AuditEvent, StoredEvent } from '../event/event.ts'
import type { Acknowledgement, Journal } from '../journal/journal.ts'
import type { Audit } from './audit.ts'
import type { BruteForceReport, Detector } from './detector.ts'
import * as events from './events.ts'
import { loggableError } from './redaction.ts'

export type AuditLogger = Pick<BaseLogger, 'fatal' | 'error' | 'warn' | 'info' | 'debug'>

const NOTHING_TO_WAIT_FOR: Promise<Acknowledgement> = Promise.resolve('durable')

export interface AuditService extends Audit {
  /** Feeds stored AUTH_FAIL and BRUTE_FORCE_SUSPECTED events, oldest first, back into the detector after a restart. */
  replay(stored: readonly StoredEvent[]): void
  status(): { recorded: number; lost: number; undeclaredLosses: number; detectorSubjects: number }
}

export function createAuditService(deps: {
  journal: Pick<Journal, 'append' | 'acknowledged'>
  detector: Detector
  logger: AuditLogger
  windowSeconds: number
}): AuditService {
  const { journal, detector, logger } = deps
  /** The last record of each context, so that its answer can wait for it. */
  const lastRecord = new WeakMap<RequestContext, number>()
  let recorded = 0
  let lost = 0
  let undeclared: { count: number; since: string } | undefined

  /** Runs one recording; whatever goes wrong in it ends here. */
  function record(context: RequestContext | undefined, build: () => AuditEvent): void {
    try {
      append(context, build(), null)
    } catch (error) {
      declareLater(error)
    }
  }

  function append(context: RequestContext | undefined, event: AuditEvent, outboxId: string | null): void {
    const sequence = journal.append(formatEntry(event, outboxId))
    recorded++
    const owner = context ?? currentContext()
    if (owner !== undefined) lastRecord.set(owner, sequence)
    if (undeclared !== undefined) declareLoss()
  }

  function declareLater(error: unknown): void {
    lost++
    if (undeclared === undefined) {
      undeclared = { count: 1, since: new Date().toISOString() }
      logger.error({ err: loggableError(error) }, 'an audit event could not be recorded')
    } else {
      undeclared.count++
    }
  }

  function declareLoss(): void {
    const loss = undeclared
    if (loss === undefined) return
    undeclared = undefined
    const until = new Date().toISOString()
    const description = `${loss.count} events could not be recorded between ${loss.since} and ${until}`
    try {
      journal.append(
        formatEntry(events.system('LOSS_DECLARED', undefined, { description, metadata: { ...loss, until } })),
      )
      logger.fatal({ count: loss.count }, 'audit events were lost; the loss is declared in the trail')
    } catch {
      undeclared = loss // still full: the next event tries again
    }
  }

  function report(cpId: string, context: RequestContext | undefined, found: BruteForceReport): void {
    const from = context ?? currentContext()
    const ip = from?.ip ?? '-'
    const subject = found.scope === 'ip' ? `from IP ${ip}` : `for CP ${cpId}`
    const description = `Brute force attack suspected: ${found.failureCount} failures ${subject} (window: ${deps.windowSeconds} seconds)`
    const metadata = {
      scope: found.scope,
      ip,
      cp_id: cpId,
      failure_count: found.failureCount,
      time_window_seconds: deps.windowSeconds,
      distinct_cp_ids: found.distinctCpIds,
    }
    record(context, () =>
      events.incident(cpId, context, INCIDENT.BRUTE_FORCE_SUSPECTED, { description, statusCode: 401, metadata }),
    )
    logger.fatal({ ...metadata, request_id: from?.requestId }, 'brute force attack suspected')
  }

  const ipOf = (context: RequestContext | undefined) => (context ?? currentContext())?.ip ?? '-'

  return {
    authSuccess(cpId, context, metadata) {
      record(context, () => events.authSuccess(cpId, context, metadata))
    },
    authFail(cpId, context, reason, options = {}) {
      record(context, () => events.authFail(cpId, context, reason, options.statusCode, options.metadata))
      detector.fail(ipOf(context), cpId, Date.now())
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
      return detector.isSuspected(ipOf(context), cpId, Date.now())
    },
    detectAndReportBruteForce(cpId, context) {
      const ip = ipOf(context)
      const now = Date.now()
      const found = detector.due(ip, cpId, now)
      if (found !== undefined) {
        report(cpId, context, found)
        detector.markReported(ip, cpId, now)
      }
      return detector.isSuspected(ip, cpId, now)
    },
    failuresInWindow: cpId => detector.failuresInWindow('cp_id', cpId, Date.now()),

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

    replay(stored) {
      for (const event of stored) {
        const at = Date.parse(event.date_time)
        if (event.action === 'AUTH_FAIL') detector.fail(event.ip, event.who, at)
        else if (event.reason_code === INCIDENT.BRUTE_FORCE_SUSPECTED) detector.markReported(event.ip, event.who, at)
      }
    },
    status: () => ({
      recorded,
      lost,
      undeclaredLosses: undeclared?.count ?? 0,
      detectorSubjects: detector.size,
    }),
  }
}
