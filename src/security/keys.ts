/**
 * The keys of charge points: AES-256, one current key each, versions counting up over the charge point's life.
 * A key leaves in one place only (`current`). Owns a bounded cache of unwrapped keys by key_id, which names one key for
 * ever; what is current is read from the state each time.
 */
import { createHash, randomBytes, randomUUIDv7 } from 'node:crypto'
import * as events from '../audit/events.ts'
import { createRecencyMap } from '../audit/recency-map.ts'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { deriveKey } from './derived-keys.ts'
import { unwrapKey, wrapKey } from './key-wrap.ts'
import type { Change, ChangeTransaction } from './outbox.ts'
import { type Actor, CP_STATUSES, type CpStatus, type KeyInfo, type Security } from './security.ts'
import type { KeyRecord, SecurityState } from './security-state.ts'

export interface Keys {
  readonly doors: Security['keys']
  /** The current key of a charge point with its bytes, or undefined. */
  open(cpId: string): Promise<{ info: KeyInfo; key: Uint8Array } | undefined>
  /** Revokes the current key, if there is one, as part of a larger change. */
  revokeWithin(
    transaction: ChangeTransaction,
    cpId: string,
    reason: string | undefined,
    actor: Actor,
  ): Promise<KeyInfo | undefined>
}

const KEY_BYTES = 32

export function createKeys(deps: {
  state: Pick<SecurityState, 'currentKey'>
  change: Change
  keyEncryptionKey: Uint8Array
}): Keys {
  const { state, change } = deps
  const wrappingKey = deriveKey(deps.keyEncryptionKey, 'key-wrap')
  const opened = createRecencyMap<Uint8Array>(LIMITS.keyCacheEntriesMax)

  async function open(cpId: string): Promise<{ info: KeyInfo; key: Uint8Array } | undefined> {
    const record = await state.currentKey(cpId)
    if (record === undefined) return undefined
    const key = opened.touch(record.key_id, () => unwrapKey(wrappingKey, record.wrapped, record))
    return { info: infoOf(record), key }
  }

  async function add(transaction: ChangeTransaction, cpId: string): Promise<KeyRecord> {
    const key = randomBytes(KEY_BYTES)
    const owner = {
      cp_id: cpId,
      key_id: randomUUIDv7(),
      version: (await transaction.lastKeyVersion(cpId)) + 1,
    }
    const record = {
      ...owner,
      wrapped: wrapKey(wrappingKey, key, owner),
      fingerprint: fingerprintOf(key),
      created_at: new Date().toISOString(),
    }
    await transaction.addKey(record)
    return record
  }

  async function drop(transaction: ChangeTransaction, record: KeyRecord): Promise<void> {
    opened.delete(record.key_id)
    await transaction.dropKey(record.key_id, new Date().toISOString())
  }

  const revokeWithin: Keys['revokeWithin'] = async (transaction, cpId, reason, actor) => {
    const record = await transaction.currentKey(cpId)
    if (record === undefined) return undefined
    await drop(transaction, record)
    await transaction.record(events.keyEvent('KEY_REVOKE', cpId, undefined, detailsOf(record, reason, actor)))
    return infoOf(record)
  }

  const generate: Security['keys']['generate'] = (cpId, reason, actor) =>
    change('keys', async transaction => {
      await requireStatus(transaction, cpId, ['ACTIVE'])
      if ((await transaction.currentKey(cpId)) !== undefined) throw new Refusal('KEY_EXISTS')
      const record = await add(transaction, cpId)
      await transaction.record(events.keyEvent('KEY_GENERATE', cpId, undefined, detailsOf(record, reason, actor)))
      return infoOf(record)
    })

  const reset: Security['keys']['reset'] = (cpId, reason, actor) =>
    change('keys', async transaction => {
      await requireStatus(transaction, cpId, ['ACTIVE', 'OUT_OF_SERVICE'])
      const old = await transaction.currentKey(cpId)
      if (old === undefined) throw new Refusal('KEY_NOT_FOUND')
      await drop(transaction, old)
      const record = await add(transaction, cpId)
      await transaction.record(events.keyEvent('KEY_RESET', cpId, undefined, detailsOf(record, reason, actor)))
      return infoOf(record)
    })

  const revoke: Security['keys']['revoke'] = (cpId, reason, actor) =>
    change('keys', async transaction => {
      await requireStatus(transaction, cpId, CP_STATUSES)
      const info = await revokeWithin(transaction, cpId, reason, actor)
      if (info === undefined) throw new Refusal('KEY_NOT_FOUND')
      return info
    })

  const current: Security['keys']['current'] = async cpId => {
    const found = await open(cpId)
    if (found === undefined) throw new Refusal('KEY_NOT_FOUND')
    return { ...found.info, algorithm: 'AES-256-GCM', key: Buffer.from(found.key).toString('base64') }
  }

  return { doors: { generate, reset, revoke, current }, open, revokeWithin }
}

async function requireStatus(transaction: ChangeTransaction, cpId: string, allowed: readonly CpStatus[]) {
  const chargePoint = await transaction.chargePoint(cpId)
  if (chargePoint === undefined) throw new Refusal('CP_NOT_FOUND')
  if (!allowed.includes(chargePoint.security_status)) throw new Refusal('CP_NOT_ACTIVE')
}

/** First 16 hex digits of SHA-256. */
function fingerprintOf(key: Uint8Array): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 16)
}

function infoOf({ cp_id, key_id, version, fingerprint }: KeyRecord): KeyInfo {
  return { cp_id, key_id, version, fingerprint }
}

function detailsOf(record: KeyRecord, reason: string | undefined, actor: Actor) {
  return { version: record.version, fingerprint: record.fingerprint, reason, actor: actor.name }
}
