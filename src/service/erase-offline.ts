/**
 * Erasure in a data folder that no service runs on: opens what the service would, but for its doors. Whatever waits in the outbox and
 * in the journal becomes rows first.
 */
import type { AuditLogger } from '../audit/audit-service.ts'
import type { Erased, ErasureRequest } from '../erasure/request.ts'
import { createFailurePolicy } from '../security/failure-policy.ts'
import { createOutbox } from '../security/outbox.ts'
import { createSqliteSecurityState } from '../security/sqlite-security-state.ts'
import type { Settings } from '../settings/settings.ts'
import { dataFolder, lockDataFolder } from './data-folder.ts'
import { createErasures } from './erasure.ts'
import { openPipeline } from './pipeline.ts'
import { refuseHalfRestored } from './restore.ts'

/** @throws {Refusal} DATA_FOLDER_IN_USE, RESTORE_INCOMPLETE, JOURNAL_BEHIND, and as `Erasures.erase` */
export async function eraseOffline(settings: Settings, logger: AuditLogger, request: ErasureRequest): Promise<Erased> {
  const folder = dataFolder(settings.dataDir)
  refuseHalfRestored(folder)
  await using undo = new AsyncDisposableStack()
  const lock = undo.use(lockDataFolder(folder))
  const { ackTimeoutMs, bruteForceThreshold, bruteForceWindowSeconds } = settings
  const pipeline = await openPipeline({ folder, logger, ackTimeoutMs, bruteForceThreshold, bruteForceWindowSeconds })
  undo.defer(async () => {
    await pipeline.close()
    if (pipeline.status().indexer.lagRecords === 0) lock.leaveAsFound()
  })
  const state = createSqliteSecurityState({ path: folder.securityDatabase })
  undo.defer(() => state.close())
  const policy = createFailurePolicy([], async () => true)
  const outbox = createOutbox({ state, audit: pipeline.audit, policy, logger })
  const settleState = async () => {
    await outbox.deliver()
    return outbox.trim()
  }
  const erasures = undo.use(createErasures({ folder, pipeline, settleState, logger }))
  return await erasures.erase(request)
}
