/**
 * Sessions: how a person at a browser is known after signing in with an admin key. A session's secret is 256 random bits;
 * stored is their SHA-256, by which it is looked up, so a stolen database opens none.
 *
 *   open    renewed while it is used, for `sessionSecondsMax` at most
 *   ended   signed out, expired, or its key is no admin's any more (revoked, replaced); never opens again
 *
 * Promise: opening and ending are one transaction with their event. Every request asks the state, so a session ends for
 * all processes at once. An ended session is known as one for a while, so that its last requests are told from a guess.
 */
import { createHash, randomBytes } from 'node:crypto'
import * as events from '../audit/events.ts'
import { Refusal } from '../errors.ts'
import { ACCESS } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import type { AdminRefusals } from './admin-refusals.ts'
import type { Admins } from './admins.ts'
import type { Change, ChangeTransaction } from './outbox.ts'
import { ROLES, type Security, type Session } from './security.ts'
import type { AdminRecord, SecurityState, SessionRecord } from './security-state.ts'

/** How long an ended session is remembered. */
const REMEMBERED_SECONDS = 24 * 60 * 60
const SHOWN_DIGITS = 12

export function createSessions(deps: {
  readonly state: Pick<SecurityState, 'session' | 'adminByKeyHash' | 'refresh'>
  readonly change: Change
  readonly admins: Pick<Admins, 'holderOf'>
  readonly refusals: AdminRefusals
}): Security['sessions'] {
  const { state, change, admins, refusals } = deps

  /** @throws {Refusal} SESSION_ENDED */
  async function holder(record: SessionRecord): Promise<AdminRecord> {
    if (record.ended_at !== null || record.expires_at <= now()) throw new Refusal('SESSION_ENDED')
    const admin = await state.adminByKeyHash(record.key_hash)
    if (admin?.revoked_at === null) return admin
    await state.refresh() // another instance may have let them in just now
    const latest = await state.adminByKeyHash(record.key_hash)
    if (latest?.revoked_at !== null) throw new Refusal('SESSION_ENDED')
    return latest
  }

  async function opened(secret: string): Promise<{ record: SessionRecord; admin: AdminRecord }> {
    const record = await state.session(hashOf(secret))
    if (record === undefined) throw refusals.refuseWrong('unknown', hashOf(secret), 'unknown session')
    return { record, admin: await holder(record) }
  }

  return {
    async open(key) {
      const { name, role, key_hash } = await admins.holderOf(key, ROLES)
      const secret = randomBytes(32).toString('base64url')
      const created_at = now()
      const record = {
        id_hash: hashOf(secret),
        admin: name,
        key_hash,
        created_at,
        expires_at: expiry(created_at),
        ended_at: null,
      }
      await change('admin', async transaction => {
        const others = await transaction.sessionsOf(name)
        await endThose(transaction, others.slice(0, Math.max(0, others.length - LIMITS.sessionsPerAdminMax + 1)))
        await transaction.forgetSessions(now(-REMEMBERED_SECONDS))
        await transaction.putSession(record)
        const metadata = { session: shown(record), role }
        const description = `${name} signed in`
        await transaction.record(
          events.access(name, undefined, ACCESS.SIGNED_IN, { description, statusCode: 201, metadata }),
        )
      })
      return { name, role, expires_at: record.expires_at, secret }
    },

    async authorize(secret, allowed) {
      const { record, admin } = await opened(secret)
      if (!allowed.includes(admin.role)) throw refusals.refuse(admin.name, 'FORBIDDEN', 'role')
      return sessionOf(record, admin)
    },

    async isOpen(secret) {
      const record = await state.session(hashOf(secret))
      return record !== undefined && (await holder(record).catch(() => undefined)) !== undefined
    },

    async renew(secret) {
      const { record, admin } = await opened(secret)
      const renewed = { ...record, expires_at: expiry(record.created_at) }
      await change('admin', async transaction => {
        // Read again: a sign-out may have come first, and what ended stays so.
        if ((await transaction.session(record.id_hash))?.ended_at !== null) throw new Refusal('SESSION_ENDED')
        await transaction.putSession(renewed)
      })
      return sessionOf(renewed, admin)
    },

    async end(secret, which) {
      const { record, admin } = await opened(secret)
      await change('admin', async transaction => {
        const ending = which === 'all' ? await transaction.sessionsOf(admin.name) : [record]
        await endThose(transaction, ending)
        const metadata = { sessions: ending.map(shown) }
        const description = `${admin.name} signed out${which === 'all' ? ' everywhere' : ''}`
        await transaction.record(
          events.access(admin.name, undefined, ACCESS.SIGNED_OUT, { description, statusCode: 204, metadata }),
        )
      })
    },
  }
}

async function endThose(transaction: ChangeTransaction, sessions: readonly SessionRecord[]): Promise<void> {
  for (const session of sessions) await transaction.putSession({ ...session, ended_at: now() })
}

function sessionOf({ expires_at }: SessionRecord, { name, role }: AdminRecord): Session {
  return { name, role, expires_at }
}

/** Enough to tell sessions apart in the trail, and no use for anything else. */
function shown({ id_hash }: SessionRecord): string {
  return id_hash.slice(0, SHOWN_DIGITS)
}

function hashOf(secret: string): string {
  return createHash('sha256').update(secret).digest('hex')
}

function now(plusSeconds = 0): string {
  return new Date(Date.now() + plusSeconds * 1000).toISOString()
}

function expiry(createdAt: string): string {
  const last = new Date(Date.parse(createdAt) + LIMITS.sessionSecondsMax * 1000).toISOString()
  const next = now(LIMITS.sessionIdleSecondsMax)
  return next < last ? next : last
}
