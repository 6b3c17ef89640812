/** The security status of charge points: which it may follow, and what else a change of it changes. Owns no state. */
import * as events from '../audit/events.ts'
import { Refusal } from '../errors.ts'
import type { Keys } from './keys.ts'
import type { Change } from './outbox.ts'
import type { Actor, CpStatus, Security, StatusChange } from './security.ts'

/** Coming back from REVOKED takes two deliberate steps. */
const NEXT: Record<CpStatus, readonly CpStatus[]> = {
  ACTIVE: ['OUT_OF_SERVICE', 'REVOKED'],
  OUT_OF_SERVICE: ['ACTIVE', 'REVOKED'],
  REVOKED: ['OUT_OF_SERVICE'],
}

export function createStatus(deps: { change: Change; keys: Pick<Keys, 'revokeWithin'> }): Security['status'] {
  const { change, keys } = deps

  function move(cpId: string, next: CpStatus, reason: string | undefined, actor: Actor): Promise<StatusChange> {
    return change('status', async transaction => {
      const before = await transaction.chargePoint(cpId)
      if (before === undefined) throw new Refusal('CP_NOT_FOUND')
      const old = before.security_status
      if (!NEXT[old].includes(next)) throw new Refusal('INVALID_TRANSITION', `From ${old} to ${next} is not allowed.`)
      await transaction.putChargePoint({
        ...before,
        security_status: next,
        // Every token of a revoked charge point stays worthless, also once it is restored.
        token_version: next === 'REVOKED' ? before.token_version + 1 : before.token_version,
        updated_at: new Date().toISOString(),
      })
      const details = { oldStatus: old, newStatus: next, reason, actor: actor.name }
      await transaction.record(events.statusChange(cpId, undefined, details))
      if (next === 'REVOKED') await keys.revokeWithin(transaction, cpId, reason, actor)
      return { cp_id: cpId, old_status: old, new_status: next }
    })
  }

  return {
    outOfService: (cpId, reason, actor) => move(cpId, 'OUT_OF_SERVICE', reason, actor),
    restore: (cpId, reason, actor) => move(cpId, 'ACTIVE', reason, actor),
    revoke: (cpId, reason, actor) => move(cpId, 'REVOKED', reason, actor),
  }
}
