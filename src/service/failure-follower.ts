/**
 * Failures of all instances, read from the trail: the shared detector counts every one of them
 * (audit/shared-detector.ts), the throttles those that other instances refused, as each counts its own at once.
 *
 * Reads forward from a position, when there are new rows; a store that cannot be read is asked again. What is to be reported and
 * the journal cannot take now is kept and offered again; a crash loses nothing, as the other instances report it too.
 * Owns the position and the reports that wait. Delays no request.
 */
import type { AuditLogger, AuditService } from '../audit/audit-service.ts'
import { loggableError } from '../audit/redaction.ts'
import type { SharedDetector, SharedReport } from '../audit/shared-detector.ts'
import { isErased, type StoredEvent } from '../event/event.ts'
import { createFollower } from '../query/follower.ts'
import type { SecurityService } from '../security/create-security.ts'
import type { Pipeline } from './pipeline.ts'

const RETRY_MS = 500

export function followFailures(deps: {
  pipeline: Pick<Pipeline, 'queries' | 'onIndexed' | 'lastEventId'>
  audit: Pick<AuditService, 'deliver'>
  detector: SharedDetector
  security: Pick<SecurityService, 'replay'>
  instance: string
  /** The last row that was replayed. */
  after: number
  logger: AuditLogger
}): AsyncDisposable {
  const { pipeline, audit, detector, security, instance, logger } = deps
  const filter = { action: ['AUTH_FAIL', 'INCIDENT'] } as const
  const follower = createFollower({ queries: pipeline.queries, filter, after: deps.after })
  const waiting: SharedReport[] = []
  let running: Promise<void> | undefined
  let retry: NodeJS.Timeout | undefined

  async function step(): Promise<void> {
    deliver()
    for (;;) {
      const head = pipeline.lastEventId()
      const found = await follower.next(head)
      if (found.length === 0 && pipeline.lastEventId() <= follower.position) return
      const rows = found.filter(event => !isErased(event))
      for (const report of detector.follow(rows)) {
        waiting.push(report)
        if (isOurs(report.cause)) logger.fatal(said(report), 'brute force attack suspected')
      }
      deliver()
      await security.replay(rows.filter(row => !isOurs(row)))
    }
  }

  function deliver(): void {
    while (waiting[0] !== undefined && audit.deliver(waiting[0].incident, waiting[0].onceKey)) waiting.shift()
    if (waiting.length > 0) later()
  }

  function later(): void {
    clearTimeout(retry)
    retry = setTimeout(run, RETRY_MS).unref()
  }

  function run(): void {
    running ??= step()
      .catch(error => {
        logger.warn({ err: loggableError(error) }, 'failures of other instances cannot be read now; it is tried again')
        later()
      })
      .finally(() => {
        running = undefined
      })
  }

  const isOurs = (row: StoredEvent) => row.metadata_json?.includes(`"instance":"${instance}"`) === true

  const stop = pipeline.onIndexed(run)
  run()
  return {
    async [Symbol.asyncDispose]() {
      stop()
      await running
      clearTimeout(retry)
    },
  }
}

function said({ cause, incident }: SharedReport): object {
  return { ...JSON.parse(incident.metadata_json ?? '{}'), request_id: cause.request_id }
}
