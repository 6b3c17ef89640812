/**
 * Operators and their keys. A key is `evca_` and 64 hex digits (256 bits), or what EVC_ADMIN_KEY says; stored is its
 * HMAC, by which it is looked up, so that every check is the same work and a stolen database holds no key.
 */
import { createHmac, randomBytes } from 'node:crypto'
import * as events from '../audit/events.ts'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { AdminRefusals } from './admin-refusals.ts'
import { deriveKey } from './derived-keys.ts'
import type { Change, ChangeTransaction } from './outbox.ts'
import { type Admin, ROLES, type Role, type Security } from './security.ts'
import type { AdminRecord, SecurityState } from './security-state.ts'

export interface Admins {
  readonly doors: Security['admins']
  /** The admin a key belongs to, with the hash it is stored under. Refuses as `authorize` does. */
  holderOf(key: string | undefined, allowed: readonly Role[]): Promise<AdminRecord>
  /**
   * Makes sure that there is an admin: `admin`, with the given key, else with a generated one, which is returned to be
   * shown once. A given key that differs from the stored one replaces it (rotation), also if `admin` was revoked.
   */
  bootstrap(givenKey?: string): Promise<{ name: string; key: string } | undefined>
}

/** How others name an admin in the trail and on the command line. */
const NAME = /^[A-Za-z0-9._@-]+$/
const FIRST_ADMIN = 'admin'
const BOOTSTRAP_ACTOR = 'system'

export function createAdmins(deps: {
  state: Pick<SecurityState, 'adminByKeyHash' | 'admins' | 'refresh'>
  change: Change
  refusals: AdminRefusals
  keyEncryptionKey: Uint8Array
}): Admins {
  const { state, change, refusals } = deps
  const hashKey = deriveKey(deps.keyEncryptionKey, 'admin-keys')
  const hashOf = (key: string) => createHmac('sha256', hashKey).update(key).digest('hex')

  const holderOf: Admins['holderOf'] = async (key, allowed) => {
    if (key === undefined || key === '') throw refusals.refuse('unknown', 'UNAUTHORIZED', 'missing')
    const keyHash = hashOf(key.slice(0, LIMITS.adminKeyCharactersMax + 1)) // one more than any key has: nobody's
    let admin = await state.adminByKeyHash(keyHash)
    if (admin === undefined || !mayPass(admin, allowed)) {
      await state.refresh() // another instance may have let them in just now
      admin = await state.adminByKeyHash(keyHash)
    }
    if (admin === undefined) throw refusals.refuseWrong('unknown', keyHash, 'wrong')
    if (admin.revoked_at !== null) throw refusals.refuseWrong(admin.name, keyHash, 'revoked')
    if (!allowed.includes(admin.role)) throw refusals.refuse(admin.name, 'FORBIDDEN', 'role')
    return admin
  }

  const authorize: Security['admins']['authorize'] = async (key, allowed) => {
    const { name, role } = await holderOf(key, allowed)
    return { name, role }
  }

  async function store(transaction: ChangeTransaction, name: string, role: Role, key: string, actor: string) {
    const record: AdminRecord = {
      name,
      role,
      key_hash: hashOf(key),
      created_at: new Date().toISOString(),
      revoked_at: null,
    }
    await transaction.putAdmin(record)
    const description = `Admin ${name} may act as ${role}`
    await transaction.record(
      events.system('ADMIN_ADDED', undefined, { description, metadata: { admin: name, role, actor } }),
    )
    return record
  }

  const add: Security['admins']['add'] = async (name, role, actor) => {
    if (!NAME.test(name) || name.length > LIMITS.adminNameCharactersMax) throw invalid('name', 'pattern')
    if (!ROLES.includes(role)) throw invalid('role', 'enum')
    const key = newKey()
    const record = await change('admin', async transaction => {
      const known = await transaction.admin(name)
      // A revoked name may come back, with a new key: that is how a person's key is changed.
      if (known !== undefined && known.revoked_at === null) throw new Refusal('ADMIN_EXISTS')
      return store(transaction, name, role, key, actor.name)
    })
    return { ...publicPart(record), key }
  }

  const revoke: Security['admins']['revoke'] = (name, actor) =>
    change('admin', async transaction => {
      const admin = await transaction.admin(name)
      if (admin === undefined || admin.revoked_at !== null) throw new Refusal('ADMIN_NOT_FOUND')
      const others = (await transaction.admins()).filter(other => other.name !== name && isFull(other))
      if (isFull(admin) && others.length === 0) throw new Refusal('LAST_ADMIN')
      await transaction.putAdmin({ ...admin, revoked_at: new Date().toISOString() })
      const metadata = { admin: name, actor: actor.name }
      await transaction.record(
        events.system('ADMIN_REVOKED', undefined, { description: `Admin ${name} revoked`, metadata }),
      )
    })

  /** Asked before the change, so that a start with nothing to change depends neither on a lock nor on the journal. */
  async function isBootstrapped(givenKey: string | undefined): Promise<boolean> {
    if (givenKey === undefined) return (await state.admins()).length > 0
    return (await state.adminByKeyHash(hashOf(givenKey)))?.name === FIRST_ADMIN
  }

  const bootstrap: Admins['bootstrap'] = async givenKey => {
    if (await isBootstrapped(givenKey)) return undefined
    return change('admin', async transaction => {
      if (givenKey === undefined) {
        if ((await transaction.admins()).length > 0) return undefined
        // Crash after the commit: nobody saw the key. Setting EVC_ADMIN_KEY, or `admin add`, gives another one.
        const key = newKey()
        await store(transaction, FIRST_ADMIN, 'admin', key, BOOTSTRAP_ACTOR)
        return { name: FIRST_ADMIN, key }
      }
      const holder = await transaction.adminByKeyHash(hashOf(givenKey))
      if (holder === undefined) await store(transaction, FIRST_ADMIN, 'admin', givenKey, BOOTSTRAP_ACTOR)
      else if (holder.name !== FIRST_ADMIN) throw new Error('EVC_ADMIN_KEY is the key of another admin; choose another')
      return undefined // unchanged: a revoked `admin` stays revoked
    })
  }

  return {
    doors: {
      authorize,
      isKey: async key => (await state.adminByKeyHash(hashOf(key)))?.revoked_at === null,
      add,
      revoke,
      list: async () => (await state.admins()).map(publicPart),
    },
    holderOf,
    bootstrap,
  }
}

function newKey(): string {
  return `evca_${randomBytes(32).toString('hex')}`
}

function mayPass({ role, revoked_at }: AdminRecord, allowed: readonly Role[]): boolean {
  return revoked_at === null && allowed.includes(role)
}

function isFull({ role, revoked_at }: AdminRecord): boolean {
  return role === 'admin' && revoked_at === null
}

function publicPart({ name, role, created_at, revoked_at }: AdminRecord): Admin {
  return { name, role, created_at, revoked_at }
}

function invalid(field: string, rule: string): Refusal {
  return new Refusal('VALIDATION_FAILED', undefined, { violations: [{ field, rule }] })
}
