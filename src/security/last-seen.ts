/**
 * When and from where charge points logged in last: noted in memory, saved every few seconds, so that a login never
 * waits for a write. A crash forgets the last few seconds, which costs a charge point at most one more login before its
 * address is usual again. Owns what is not saved yet.
 */
import type { AuditLogger } from '../audit/audit-service.ts'
import { LIMITS } from '../limits.ts'
import type { LastSeen, SecurityState } from './security-state.ts'
import { createTrouble } from './trouble.ts'

export interface LastSeenNotes {
  /** `network` as networkOf() spells it, or `-` for none. */
  note(cpId: string, network: string): void
  /** Whether the charge point has logged in from this network before. */
  isUsual(cpId: string, network: string): Promise<boolean>
  /** The newest success that is not saved yet. */
  unsavedSuccess(cpId: string): string | undefined
  /** Drops what is noted about a charge point that is gone. */
  forget(cpId: string): void
  /** Never rejects: what cannot be saved now is kept. */
  save(): Promise<void>
}

interface Login {
  at: number
  readonly networks: Set<string>
}

const LOGINS_AT_ONCE = 500

export function createLastSeen(deps: {
  state: Pick<SecurityState, 'isUsualAddress' | 'saveLastSeen'>
  logger: Pick<AuditLogger, 'warn'>
}): LastSeenNotes {
  const { state, logger } = deps
  const trouble = createTrouble(logger, 'last logins could not be saved; it is tried again')
  let unsaved = new Map<string, Login>()
  /** On its way to the state and not there yet. */
  let saving: ReadonlyMap<string, Login> = new Map()

  function note(cpId: string, network: string, at: number): void {
    let login = unsaved.get(cpId)
    if (login === undefined) {
      login = { at, networks: new Set() }
      unsaved.set(cpId, login)
    }
    login.at = Math.max(login.at, at)
    if (network !== '-' && login.networks.size < LIMITS.usualAddressesPerChargePointMax) login.networks.add(network)
  }

  return {
    note: (cpId, network) => note(cpId, network, Date.now()),
    async isUsual(cpId, network) {
      const isNoted = [unsaved, saving].some(logins => logins.get(cpId)?.networks.has(network) === true)
      return isNoted || state.isUsualAddress(cpId, network)
    },
    unsavedSuccess(cpId) {
      const login = unsaved.get(cpId) ?? saving.get(cpId)
      return login === undefined ? undefined : new Date(login.at).toISOString()
    },
    forget: cpId => void unsaved.delete(cpId),
    async save() {
      const logins: LastSeen[] = []
      for (const [cp_id, { at, networks }] of unsaved) {
        logins.push({ cp_id, last_success: new Date(at).toISOString(), networks: [...networks] })
      }
      if (logins.length === 0) return
      saving = unsaved
      unsaved = new Map()
      try {
        for (let i = 0; i < logins.length; i += LOGINS_AT_ONCE) {
          await state.saveLastSeen(logins.slice(i, i + LOGINS_AT_ONCE), LIMITS.usualAddressesPerChargePointMax)
          await new Promise(setImmediate) // a whole fleet must not hold up the requests of this moment
        }
        trouble.isOver()
      } catch (error) {
        for (const [cpId, { at, networks }] of saving) {
          note(cpId, '-', at)
          for (const network of networks) note(cpId, network, at)
        }
        trouble.began(error)
      }
      saving = new Map()
    },
  }
}
