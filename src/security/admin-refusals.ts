/**
 * Refusals of people, by whichever way they asked (a key, a session): each an incident, of a flood the first ones and then
 * fewer. Owns the throttle of wrong keys and unknown sessions, which is one for both, and for all instances that write one trail.
 */
import type { Audit } from '../audit/audit.ts'
import { currentNetwork, networkOf } from '../context/client-address.ts'
import { ERRORS, type ErrorCode, Refusal } from '../errors.ts'
import { INCIDENT } from '../event/catalogue.ts'
import type { AuditEvent } from '../event/event.ts'
import { createAdminThrottle, DIGEST_CHARACTERS } from './admin-throttle.ts'

export interface AdminRefusals {
  /** Records the incident; the refusal is for the caller to throw. */
  refuse(who: string, code: ErrorCode, cause: string): Refusal
  /** Of a secret that was sent and is nobody's, or that of a revoked admin. `hash` tells it from others. */
  refuseWrong(who: string, hash: string, cause: string): Refusal
  /** Stored incidents of other instances, oldest first, into the throttle; other events are skipped. */
  replay(past: readonly AuditEvent[]): void
}

interface Wrong {
  readonly retryAfterSeconds?: number
  readonly hash?: string
}

export function createAdminRefusals(deps: {
  readonly audit: Pick<Audit, 'incident'>
  readonly windowSeconds: number
  /** Where several instances write one trail: which of them refused. */
  readonly instance?: string | undefined
}): AdminRefusals {
  const { audit, instance } = deps
  const windowMs = deps.windowSeconds * 1000
  const throttle = createAdminThrottle(windowMs)

  function refuse(who: string, code: ErrorCode, cause: string, wrong: Wrong = {}): Refusal {
    const { retryAfterSeconds, hash } = wrong
    const count = throttle.incidentOf(currentNetwork(), retryAfterSeconds !== undefined)
    // Of the hash, so that the others know different guesses from one that is repeated.
    const guess = hash?.slice(0, DIGEST_CHARACTERS)
    const forOthers = instance === undefined ? {} : { instance, ...(guess !== undefined && { guess }) }
    if (count !== undefined) {
      audit.incident(who, undefined, INCIDENT.UNAUTHORIZED_ADMIN_ACCESS, {
        description: `Unauthorized admin access: ${cause}`,
        statusCode: ERRORS[code].status,
        metadata: { cause, failure_count: count, ...forOthers }, // of the episode so far, as later incidents stand for many
      })
    }
    return new Refusal(code, undefined, retryAfterSeconds === undefined ? {} : { retryAfterSeconds })
  }

  return {
    refuse: (who, code, cause) => refuse(who, code, cause),
    refuseWrong(who, hash, cause) {
      const wait = throttle.wrongKey(currentNetwork(), hash)
      if (wait > 0) return refuse(who, 'TOO_MANY_ATTEMPTS', 'throttled', { retryAfterSeconds: wait })
      return refuse(who, 'UNAUTHORIZED', cause, { hash })
    },
    replay(past) {
      const since = Date.now() - windowMs
      for (const { reason_code, date_time, ip, metadata_json } of past) {
        if (reason_code !== INCIDENT.UNAUTHORIZED_ADMIN_ACCESS || Date.parse(date_time) < since) continue
        const { guess } = JSON.parse(metadata_json ?? '{}')
        if (typeof guess === 'string') throttle.followed(networkOf(ip), guess)
      }
    },
  }
}
