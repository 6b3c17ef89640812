/**
 * Brute-force detection where several instances write one trail: five failures spread over three of them are one episode.
 *
 * Promise: each step of an episode (threshold, 2x, 4x ...) becomes one incident, whichever instances the failures came to and
 * whichever of them are alive. There is no leader and nothing shared but the trail itself:
 *
 *   1. an instance records its failures as ever         a crash: they are in its journal, or nobody was answered
 *   2. they become rows, in the one order of ids
 *   3. every instance reads all of them, in that order, and counts with the same detector, by the times in the rows
 *   4. so all come to the same report, from the same failure, and each of them records it under the same once-key, made of subject,
 *      episode and step                                 a crash of some: the others do it
 *   5. the store writes the first of them, and skips the rest
 *
 * An instance that started in the middle of an episode has not seen its beginning. It takes over name and count of the episode
 * from the next incident of it, and nothing of what was before its start is reported.
 *
 * The time of a failure is the earlier of its own and that of its row, and never before the last one: a clock that is wrong on one
 * instance ends no episode early on all.
 */
import { createHash } from 'node:crypto'
import { networkOf } from '../context/client-address.ts'
import { createContext } from '../context/context.ts'
import { INCIDENT, NOT_A_GUESS } from '../event/catalogue.ts'
import type { AuditEvent, StoredEvent } from '../event/event.ts'
import { type BruteForceReport, createDetector, type Detector, type Scope } from './detector.ts'
import * as events from './events.ts'

export interface SharedReport {
  /** The failure that made it due. */
  readonly cause: StoredEvent
  readonly incident: AuditEvent
  readonly onceKey: string
}

export interface SharedDetector {
  /** For the audit service: it answers from what was followed, and counts and reports nothing by itself. */
  readonly detector: Detector
  /** Rows of before the start, oldest first; of them nothing is reported. */
  replay(rows: readonly StoredEvent[]): void
  /** The next rows, oldest first; what is to be recorded now. Others than failures and incidents are skipped. */
  follow(rows: readonly StoredEvent[]): SharedReport[]
}

const UNAUTHORIZED = 401

export function createSharedDetector(options: { threshold: number; windowSeconds: number }): SharedDetector {
  const { threshold, windowSeconds } = options
  const detector = createDetector({ threshold, windowMs: windowSeconds * 1000 })
  let lastAt = Number.NEGATIVE_INFINITY

  function timeOf(row: StoredEvent): number {
    lastAt = Math.max(lastAt, Math.min(Date.parse(row.date_time), Date.parse(row.created_at)))
    return lastAt
  }
  const now = () => Math.max(lastAt, Date.now())

  function count(row: StoredEvent): boolean {
    if (row.action !== 'AUTH_FAIL' || NOT_A_GUESS.has(row.reason_code)) return false
    detector.fail(row.ip, row.who, timeOf(row), row.id)
    return true
  }

  function takeOver(row: StoredEvent): boolean {
    if (row.reason_code !== INCIDENT.BRUTE_FORCE_SUSPECTED) return false
    const reported = reportedIn(row)
    if (reported !== undefined) detector.takeOver(row.ip, row.who, timeOf(row), reported)
    return true
  }

  function reportDue(cause: StoredEvent): SharedReport | undefined {
    const report = detector.due(cause.ip, cause.who, lastAt)
    if (report === undefined) return undefined
    detector.markReported(cause.ip, cause.who, lastAt)
    return { cause, incident: incidentOf(cause, report, windowSeconds), onceKey: onceKeyOf(cause, report) }
  }

  return {
    detector: {
      ...detector,
      fail: () => {},
      due: () => undefined,
      markReported: () => {},
      isSuspected: (ip, cpId) => detector.isSuspected(ip, cpId, now()),
      failuresInWindow: (scope, subject) => detector.failuresInWindow(scope, subject, now()),
      get size() {
        return detector.size
      },
    },
    replay(rows) {
      for (const row of rows) {
        if (!count(row) && takeOver(row)) detector.markReported(row.ip, row.who, lastAt)
      }
    },
    follow(rows) {
      const reports: SharedReport[] = []
      for (const row of rows) {
        const report = count(row) ? reportDue(row) : undefined
        if (report !== undefined) reports.push(report)
        else takeOver(row)
      }
      return reports
    },
  }
}

/** As if it had been recorded with the failure, by whoever answered that. */
function incidentOf(cause: StoredEvent, report: BruteForceReport, windowSeconds: number): AuditEvent {
  const context = createContext({
    ...(cause.request_id === null ? {} : { requestId: cause.request_id }),
    ip: cause.ip,
    endpoint: cause.endpoint,
    httpMethod: cause.http_method,
  })
  return events.bruteForce(cause.who, context, report, windowSeconds, cause.status_code ?? UNAUTHORIZED)
}

function onceKeyOf(cause: StoredEvent, { scope, episode, step }: BruteForceReport): string {
  const subject = scope === 'ip' ? networkOf(cause.ip) : cause.who
  const name = JSON.stringify([INCIDENT.BRUTE_FORCE_SUSPECTED, scope, subject, episode, step])
  return createHash('sha256').update(name).digest('hex')
}

/** Undefined for incidents that were recorded by an instance that was alone, or imported. */
function reportedIn({ metadata_json }: StoredEvent) {
  const { scope, failure_count: failureCount, episode } = JSON.parse(metadata_json ?? '{}')
  const isOne = isScope(scope) && Number.isSafeInteger(failureCount) && Number.isSafeInteger(episode)
  return isOne ? { scope, failureCount: failureCount as number, episode: episode as number } : undefined
}

function isScope(value: unknown): value is Scope {
  return value === 'ip' || value === 'cp_id'
}
