/** What it means that an event is not as it was logged: put on record, and nothing is signed any more. */
import { createHash } from 'node:crypto'
import type { Logger } from 'pino'
import type { AuditService } from '../audit/audit-service.ts'
import { incident } from '../audit/events.ts'
import type { FoundTampering } from '../checkpoint/postgres-watch.ts'
import { createContext } from '../context/context.ts'

/** Of each finding one incident: all instances come to the same, and record it under the same key. */
export function tamperingRecorder(deps: {
  readonly audit: Pick<AuditService, 'deliver'>
  readonly logger: Pick<Logger, 'fatal'>
}): (found: FoundTampering) => void {
  /** The key of the last one that was recorded here. */
  let recorded: string | undefined
  return ({ id, detail, foundAt }) => {
    const onceKey = createHash('sha256')
      .update(JSON.stringify(['LOG_TAMPERED', id, foundAt]))
      .digest('hex')
    if (onceKey === recorded) return
    const description = `The trail was changed: event ${id}, ${detail}`
    const event = incident('system', createContext(), 'LOG_TAMPERED', { description, metadata: { id } })
    if (!deps.audit.deliver(event, onceKey)) return // with the next look
    deps.logger.fatal({ id }, 'the trail was changed: no checkpoint is signed any more')
    recorded = onceKey
  }
}
