/**
 * Refusals of people, by whichever way they asked (a key, a session): each an incident, of a flood the first ones and then
 * fewer. Owns the throttle of wrong keys and unknown sessions, which is one for both.
 */
import type { Audit } from '../audit/audit.ts'
import { networkOf } from '../context/client-address.ts'
import { currentContext } from '../context/context.ts'
import { ERRORS, type ErrorCode, Refusal } from '../errors.ts'
import { INCIDENT } from '../event/catalogue.ts'
import { createAdminThrottle } from './admin-throttle.ts'

export interface AdminRefusals {
  /** Records the incident; the refusal is for the caller to throw. */
  refuse(who: string, code: ErrorCode, cause: string): Refusal
  /** Of a secret that was sent and is nobody's, or that of a revoked admin. `hash` tells it from others. */
  refuseWrong(who: string, hash: string, cause: string): Refusal
}

export function createAdminRefusals(deps: {
  readonly audit: Pick<Audit, 'incident'>
  readonly windowSeconds: number
}): AdminRefusals {
  const throttle = createAdminThrottle(deps.windowSeconds * 1000)

  function refuse(who: string, code: ErrorCode, cause: string, retryAfterSeconds?: number): Refusal {
    const count = throttle.incidentOf(currentNetwork(), retryAfterSeconds !== undefined)
    if (count !== undefined) {
      deps.audit.incident(who, undefined, INCIDENT.UNAUTHORIZED_ADMIN_ACCESS, {
        description: `Unauthorized admin access: ${cause}`,
        statusCode: ERRORS[code].status,
        metadata: { cause, failure_count: count }, // of the episode so far, as later incidents stand for many
      })
    }
    return new Refusal(code, undefined, retryAfterSeconds === undefined ? {} : { retryAfterSeconds })
  }

  return {
    refuse: (who, code, cause) => refuse(who, code, cause),
    refuseWrong(who, hash, cause) {
      const wait = throttle.wrongKey(currentNetwork(), hash)
      return wait > 0 ? refuse(who, 'TOO_MANY_ATTEMPTS', 'throttled', wait) : refuse(who, 'UNAUTHORIZED', cause)
    },
  }
}

function currentNetwork(): string {
  return networkOf(currentContext()?.ip ?? '-')
}
