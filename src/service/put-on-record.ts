/**
 * An event from whoever has no journal, as a command beside the service: durably into the outbox of the security state, from where the
 * service that runs, or the next one, takes it. Crash before: it is not there; after: it reaches the trail.
 */
import { randomUUID } from 'node:crypto'
import type { AuditEvent } from '../event/event.ts'
import type { SecurityState } from '../security/security-state.ts'
import { createSqliteSecurityState } from '../security/sqlite-security-state.ts'
import type { DataFolder } from './data-folder.ts'

export async function putOnRecord(folder: DataFolder, event: AuditEvent): Promise<void> {
  await leave(createSqliteSecurityState({ path: folder.securityDatabase }), event)
}

export async function putOnSharedRecord(url: string, event: AuditEvent): Promise<void> {
  const { openSharedState } = await import('./shared-state.ts')
  await leave(await openSharedState(url), event)
}

async function leave(state: SecurityState, event: AuditEvent): Promise<void> {
  try {
    await state.change(transaction => transaction.addToOutbox(randomUUID(), event))
  } finally {
    await state.close()
  }
}
