/**
 * The security stage, put together. What it promises stands in security.ts; here is which part does what, and the three
 * things that run on their own: the outbox poll, the saving of last logins, and the sweep of nonces of dead keys.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Audit } from '../audit/audit.ts'
import type { AuditLogger } from '../audit/audit-service.ts'
import { type Clock, systemClock } from '../event/clock.ts'
import type { AuditEvent } from '../event/event.ts'
import { createAdminRefusals } from './admin-refusals.ts'
import { type Admins, createAdmins } from './admins.ts'
import { createAuthentication } from './authentication.ts'
import { createChargePoints } from './charge-points.ts'
import { createCredentials } from './credentials.ts'
import { deriveKey } from './derived-keys.ts'
import { type ChangeClass, createFailurePolicy } from './failure-policy.ts'
import { createIncidents } from './incidents.ts'
import { createKeys } from './keys.ts'
import { createLastSeen } from './last-seen.ts'
import { createMessages } from './messages.ts'
import { createOutbox } from './outbox.ts'
import type { Security } from './security.ts'
import { type SecurityState, SecurityStateError } from './security-state.ts'
import { createSessions } from './sessions.ts'
import { createStatus } from './status.ts'
import { createTokens } from './tokens.ts'
import { createTrouble, type Trouble } from './trouble.ts'

export interface SecurityService extends Security {
  readonly bootstrap: Admins['bootstrap']
  /** Feeds failures of before, oldest first, into the throttles: after a restart, or of another instance; other events are skipped. */
  replay(past: readonly AuditEvent[]): Promise<void>
  /** Saves last logins, hands over the events of changes, and forgets those that are durable; false when it cannot now. */
  settle(): Promise<boolean>
  /** Saves what is held in memory and stops. The state is closed by whoever opened it. */
  close(): Promise<void>
}

const TRIMS_AT_CLOSE = 10
const TRIM_PAUSE_MS = 50
const OUTBOX_POLL_MS = 1_000
const SAVE_MS = 5_000

/**
 * Events of earlier changes that never reached the journal are handed over before this resolves. A process that has no
 * journal (the command line beside a running server) gives an audit whose `deliver` answers false: its events stay
 * in the outbox, for the server to find.
 * @throws {SecurityStateError} the state was made with another key-encryption key
 */
export async function createSecurity(deps: {
  state: SecurityState
  audit: Audit
  secrets: { readonly tokenSecret: Uint8Array; readonly keyEncryptionKey: Uint8Array }
  settings: {
    readonly tokenTtlSeconds: number
    readonly bruteForceThreshold: number
    readonly bruteForceWindowSeconds: number
    /** Changes that are refused while their events could not be recorded; none if not given. */
    readonly strictEvents?: readonly ChangeClass[]
  }
  /** Whether the journal can be relied on now. A process without one leaves it out: its record is the outbox row. */
  isRecording?: () => Promise<boolean>
  /** Whether everything handed over so far is safe with the state: only then is it forgotten here. Left out: once it is durable. */
  isSafe?: () => Promise<boolean>
  /** Where several instances write one trail: which one this is, for the events of refused logins. */
  instance?: string
  logger: AuditLogger
  /** What throttles measure by. */
  clock?: Clock
}): Promise<SecurityService> {
  const { state, audit, secrets, settings, instance, logger, clock = systemClock } = deps
  const { keyEncryptionKey } = secrets
  await refuseOtherKey(state, keyEncryptionKey)

  const policy = createFailurePolicy(settings.strictEvents ?? [], deps.isRecording ?? (async () => true))
  const outbox = createOutbox({ state, audit, policy, logger, isSafe: deps.isSafe })
  const { change } = outbox
  const credentials = createCredentials(keyEncryptionKey)
  const tokens = createTokens({ tokenSecret: secrets.tokenSecret, ttlSeconds: settings.tokenTtlSeconds })
  const lastSeen = createLastSeen({ state, logger })
  const keys = createKeys({ state, change, keyEncryptionKey })
  const refusals = createAdminRefusals({ audit, windowSeconds: settings.bruteForceWindowSeconds, instance })
  const admins = createAdmins({ state, change, refusals, keyEncryptionKey })
  const authentication = createAuthentication({
    state,
    audit,
    credentials,
    tokens,
    lastSeen,
    settings,
    clock,
    instance,
  })

  await outbox.deliver()
  const stopOutbox = repeat(OUTBOX_POLL_MS, async () => {
    if (state.lastWriteError() !== null) await tryToWrite(state)
    await outbox.deliver()
    await outbox.trim()
  })
  const sweeping = createTrouble(logger, 'nonces of dead keys could not be deleted; it is tried again')
  const stopSaving = repeat(SAVE_MS, async () => {
    await lastSeen.save()
    await sweep(state, sweeping)
  })

  return {
    chargePoints: createChargePoints({ state, change, audit, credentials, lastSeen }),
    authentication: authentication.doors,
    keys: keys.doors,
    messages: createMessages({ state, audit, keys }),
    status: createStatus({ change, keys }),
    admins: admins.doors,
    sessions: createSessions({ state, change, admins, refusals }),
    incidents: createIncidents(change),
    bootstrap: admins.bootstrap,
    async replay(past) {
      await authentication.replay(past)
      refusals.replay(past)
    },
    async settle() {
      await lastSeen.save()
      await outbox.deliver()
      return outbox.trim()
    },
    async close() {
      await Promise.all([stopOutbox(), stopSaving()])
      await lastSeen.save()
      await outbox.deliver()
      // What stays is delivered once more at the next start, and known by its uuid then.
      for (let tried = 1; !(await outbox.trim()) && tried < TRIMS_AT_CLOSE; tried++) await sleep(TRIM_PAUSE_MS)
    },
  }
}

/** Another key-encryption key would make every credential, admin key and wrapped key wrong: better to say so at once. */
export async function refuseOtherKey(
  state: Pick<SecurityState, 'change'>,
  keyEncryptionKey: Uint8Array,
): Promise<void> {
  const check = createHmac('sha256', deriveKey(keyEncryptionKey, 'key-check')).update('1').digest('hex')
  await state.change(async transaction => {
    const known = await transaction.meta('key_encryption_key_check')
    if (known === undefined) await transaction.putMeta('key_encryption_key_check', check)
    else if (known.length !== check.length || !timingSafeEqual(Buffer.from(known), Buffer.from(check))) {
      throw new SecurityStateError(
        'EVC_KEY_ENCRYPTION_KEY is not the one this data was written with: no credential, admin key or charge point key could be read',
      )
    }
  })
}

/** After a failed write: so that readiness comes back by itself, and not with the next change. */
async function tryToWrite(state: SecurityState): Promise<void> {
  await state.change(transaction => transaction.putMeta('last_write_attempt', new Date().toISOString())).catch(() => {})
}

async function sweep(state: SecurityState, trouble: Trouble): Promise<void> {
  try {
    while (await state.sweepNonces()) await new Promise(setImmediate)
    trouble.isOver()
  } catch (error) {
    trouble.began(error)
  }
}

/** Runs `work`, which never rejects, again and again, never twice at once; the returned function stops that. */
function repeat(everyMs: number, work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined
  const timer = setInterval(() => {
    running ??= work().finally(() => {
      running = undefined
    })
  }, everyMs)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await running
  }
}
