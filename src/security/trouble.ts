/** Work in the background that is tried again and again: one line of the log when it begins to fail, none until it has worked. */
import type { AuditLogger } from '../audit/audit-service.ts'
import { loggableError } from '../audit/redaction.ts'

export interface Trouble {
  began(error: unknown): void
  isOver(): void
}

export function createTrouble(logger: Pick<AuditLogger, 'warn'>, message: string): Trouble {
  let isTold = false
  return {
    began(error) {
      if (!isTold) logger.warn({ err: loggableError(error) }, message)
      isTold = true
    },
    isOver() {
      isTold = false
    },
  }
}
