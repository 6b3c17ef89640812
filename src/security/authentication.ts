/**
 * Logins. The order of checks is the design, for what is asked first decides what an outsider can learn or cost us:
 *
 *   1. look up                      known or not, one read
 *   2. generated secret             always computed (a decoy if there is none); right: no throttle can stop it
 *   3. throttle                     before any expensive hash, and blind to whether the id exists
 *      look up again                with the news of other instances: one who was let in there just now is not refused here
 *   4. chosen secret                one scrypt for every wrong answer, if the deployment has any chosen secret at all
 *   5. wrong or unknown             one and the same refusal; the audit trail alone knows which
 *   6. status                       only whoever proved to be the charge point learns that it is revoked
 *   7. success                      event, token
 *
 * A login with a generated secret costs about 0.1 ms: a read and an HMAC (under 20 microseconds), the event, the token.
 * Every refusal is in the audit trail before it is thrown. Owns the two throttles: one for secrets, one for tokens, so
 * that a charge point whose token has expired is not kept from logging in with its secret.
 */
import type { Audit } from '../audit/audit.ts'
import { currentNetwork, networkOf } from '../context/client-address.ts'
import { ERRORS, type ErrorCode, Refusal } from '../errors.ts'
import { NOT_A_GUESS, REASON, type Reason } from '../event/catalogue.ts'
import { type Clock, pastByMonotonic } from '../event/clock.ts'
import type { AuditEvent } from '../event/event.ts'
import type { Credentials } from './credentials.ts'
import type { LastSeenNotes } from './last-seen.ts'
import type { ChargePoint, Login, Security } from './security.ts'
import type { ChargePointRecord, SecurityState } from './security-state.ts'
import { type Attempt, createThrottle, type Throttle } from './throttle.ts'
import type { ReadToken, Tokens } from './tokens.ts'

type Method = 'credentials' | 'token'

export interface Authentication {
  readonly doors: Security['authentication']
  /** Stored AUTH_FAIL events, oldest first, into the throttles: after a restart, or of another instance; others are skipped. */
  replay(past: readonly AuditEvent[]): Promise<void>
}

const SUCCESS_METADATA = {
  credentials: Object.freeze({ security_status: 'ACTIVE', method: 'credentials' }),
  token: Object.freeze({ security_status: 'ACTIVE', method: 'token' }),
}

export function createAuthentication(deps: {
  state: Pick<SecurityState, 'chargePoint' | 'hasChosenCredentials' | 'refresh'>
  audit: Audit
  credentials: Credentials
  tokens: Tokens
  lastSeen: LastSeenNotes
  settings: { readonly bruteForceThreshold: number; readonly bruteForceWindowSeconds: number }
  clock: Clock
  /** Where several instances write one trail: which of them refused. */
  instance?: string | undefined
}): Authentication {
  const { state, audit, credentials, tokens, lastSeen, settings, clock, instance } = deps
  const windows = { threshold: settings.bruteForceThreshold, windowMs: settings.bruteForceWindowSeconds * 1000 }
  const throttles: Record<Method, Throttle> = {
    credentials: createThrottle({ ...windows, acrossAddresses: true }),
    token: createThrottle({ ...windows, acrossAddresses: false }),
  }

  async function attemptOf(cpId: string): Promise<Attempt> {
    const network = currentNetwork()
    return { network, cpId, isUsual: await lastSeen.isUsual(cpId, network) }
  }

  /** Counts the attempt as failed, or refuses it. */
  function admit(method: Method, attempt: Attempt): void {
    const wait = throttles[method].admit(attempt, clock.monotonicMs())
    if (wait > 0) throw refuse(attempt.cpId, method, REASON.THROTTLED, 'TOO_MANY_ATTEMPTS', wait)
  }

  /** Records the failure; the refusal is for the caller to throw. */
  function refuse(cpId: string, method: Method, reason: Reason, code: ErrorCode, retryAfterSeconds?: number): Refusal {
    const statusCode = ERRORS[code].status
    audit.authFail(cpId, undefined, reason, {
      statusCode,
      metadata: { method, ...(instance !== undefined && { instance }) },
    })
    audit.detectAndReportBruteForce(cpId, undefined, statusCode)
    return new Refusal(code, undefined, retryAfterSeconds === undefined ? {} : { retryAfterSeconds })
  }

  function refuseUnlessActive(record: ChargePointRecord, method: Method): void {
    const { cp_id: cpId, security_status: status } = record
    if (status === 'REVOKED') throw refuse(cpId, method, REASON.REVOKED, 'CP_REVOKED')
    if (status === 'OUT_OF_SERVICE') throw refuse(cpId, method, REASON.OUT_OF_SERVICE, 'CP_OUT_OF_SERVICE')
  }

  function succeed(record: ChargePointRecord, method: Method): ChargePoint {
    const network = currentNetwork()
    throttles[method].passed(network, record.cp_id)
    lastSeen.note(record.cp_id, network)
    audit.authSuccess(record.cp_id, undefined, SUCCESS_METADATA[method])
    return publicPart(record)
  }

  /** What is known of a charge point: at once if that will do, else with the latest news. */
  async function look(
    cpId: string,
    willDo: (record: ChargePointRecord) => boolean,
  ): Promise<ChargePointRecord | undefined> {
    const known = await state.chargePoint(cpId)
    if (known !== undefined && willDo(known)) return known
    await state.refresh()
    return state.chargePoint(cpId)
  }

  /** Steps 3 and 4: the record the secret belongs to, and why there is none. */
  async function checkFurther(cpId: string, secret: string) {
    const attempt = await attemptOf(cpId)
    admit('credentials', attempt)
    let record: ChargePointRecord | undefined
    let isRight: boolean
    try {
      await state.refresh()
      record = await state.chargePoint(cpId)
      isRight = credentials.isRightGenerated(record, secret)
      if (!isRight && (await state.hasChosenCredentials())) isRight = await credentials.isRightChosen(record, secret)
    } catch (error) {
      throttles.credentials.cancelled(attempt) // busy: nothing was checked
      throw error
    }
    if (!isRight) return record === undefined ? REASON.UNKNOWN_CP : REASON.INVALID_CREDENTIALS
    throttles.credentials.succeeded(attempt)
    // The check took its time: what it was checked against may be revoked, changed or gone by now.
    const now = await state.chargePoint(cpId)
    return now !== undefined && now.credential_hash === record?.credential_hash ? now : REASON.INVALID_CREDENTIALS
  }

  async function byCredentials(cpId: string, secret: string): Promise<Login> {
    const record = await state.chargePoint(cpId)
    const isRight = credentials.isRightGenerated(record, secret)
    const found = isRight && record !== undefined ? record : await checkFurther(cpId, secret)
    if (typeof found === 'string') throw refuse(cpId, 'credentials', found, 'AUTHENTICATION_FAILED')
    const proven = isActive(found) ? found : await look(cpId, isActive)
    if (proven === undefined || proven.credential_hash !== found.credential_hash) {
      throw refuse(cpId, 'credentials', REASON.INVALID_CREDENTIALS, 'AUTHENTICATION_FAILED')
    }
    refuseUnlessActive(proven, 'credentials')
    const { token, expiresIn } = tokens.issue(proven.cp_id, proven.token_version)
    return { ...succeed(proven, 'credentials'), token, expires_in: expiresIn }
  }

  /** A token is cheap to check, so it is checked first and a valid one is never held up; a wrong one may be. */
  async function checkToken(
    token: string,
    claimed: string | undefined,
  ): Promise<{ record: ChargePointRecord; read: ReadToken }> {
    const read = await tokens.read(token)
    const cpId = claimed ?? read.cpId ?? 'unknown'
    if ('reason' in read || read.cpId !== cpId) {
      const isUnknown = claimed !== undefined && (await state.chargePoint(claimed)) === undefined
      const reason = 'reason' in read ? read.reason : REASON.INVALID_TOKEN
      throw await refuseToken(cpId, isUnknown ? REASON.UNKNOWN_CP : reason)
    }
    const record = await look(cpId, known => isActive(known) && known.token_version === read.version)
    if (record === undefined) throw await refuseToken(cpId, REASON.UNKNOWN_CP)
    refuseUnlessActive(record, 'token')
    if (record.token_version !== read.version) throw await refuseToken(cpId, REASON.TOKEN_VERSION_MISMATCH)
    return { record, read }
  }

  async function refuseToken(cpId: string, reason: Reason): Promise<Refusal> {
    admit('token', await attemptOf(cpId))
    return refuse(cpId, 'token', reason, 'AUTHENTICATION_FAILED')
  }

  async function byToken(cpId: string, token: string): Promise<Login> {
    const { record, read } = await checkToken(token, cpId)
    return { ...succeed(record, 'token'), token, expires_in: read.expiresIn }
  }

  async function bearer(token: string | undefined): Promise<ChargePoint> {
    // Not a login but every request of one: no success is recorded.
    return publicPart((await checkToken(token ?? '', undefined)).record)
  }

  async function replay(past: readonly AuditEvent[]): Promise<void> {
    const monotonic = pastByMonotonic(clock)
    for (const { action, reason_code, who, ip, date_time, metadata_json } of past) {
      if (action !== 'AUTH_FAIL' || !isCheckedGuess(reason_code)) continue
      const network = networkOf(ip)
      const attempt = { network, cpId: who, isUsual: await lastSeen.isUsual(who, network) }
      throttles[methodOf(metadata_json)].replay(attempt, monotonic(Date.parse(date_time)))
    }
  }

  return { doors: { byCredentials, byToken, bearer }, replay }
}

function isActive({ security_status }: ChargePointRecord): boolean {
  return security_status === 'ACTIVE'
}

function publicPart({ cp_id, location, security_status }: ChargePointRecord): ChargePoint {
  return { cp_id, location, security_status }
}

/** What the throttle counts; the detector counts what was refused without a check too. */
function isCheckedGuess(reason: string | null): boolean {
  return reason !== REASON.THROTTLED && !NOT_A_GUESS.has(reason)
}

/** Events that say nothing of it (imported ones) count as guesses of a secret, the stricter of the two. */
function methodOf(metadataJson: string | null): Method {
  return metadataJson?.includes('"method":"token"') === true ? 'token' : 'credentials'
}
