/**
 * Used message nonces in PostgreSQL. A group is one transaction (nonce-groups.ts). Their keys are locked, in one order, so that two
 * instances agree which of two equal nonces was first, and a key that is dropped meanwhile is `gone`.
 */
import type { Session } from '../postgres/postgres.ts'
import { createNonceGroups, type UsedNonce } from './nonce-groups.ts'
import type { PostgresChanges } from './postgres-change.ts'
import type { NonceVerdict } from './security-state.ts'

interface UsedKey {
  readonly key_id: string
  readonly number: number
  nonces_used: number
}

const GROUP_MAX = 500
const SWEEP_NONCES = 5_000

export function createPostgresNonces({ write }: Pick<PostgresChanges, 'write'>) {
  return {
    useNonce: createNonceGroups(group => write(session => useAll(session, group)), GROUP_MAX),

    /** Crash inside: some nonces of dead keys are left, which nothing reads; the next sweep goes on. */
    sweepNonces: (): Promise<boolean> => write(sweepSome),
  }
}

async function useAll(session: Session, group: readonly UsedNonce[]): Promise<NonceVerdict[]> {
  const locked = await session.query<UsedKey>(
    `SELECT key_id, number, nonces_used FROM charge_point_keys
     WHERE key_id = ANY($1) AND revoked_at IS NULL ORDER BY key_id FOR NO KEY UPDATE`,
    [[...new Set(group.map(({ keyId }) => keyId))]],
  )
  const keys = new Map(locked.rows.map(key => [key.key_id, key]))
  const asked = group.filter(({ keyId }) => keys.has(keyId))
  const numbers = asked.map(({ keyId }) => keys.get(keyId)?.number)
  const nonces = asked.map(({ nonce }) => Buffer.from(nonce))
  const found = await session.query<{ key_number: number; nonce: Buffer }>(
    `SELECT n.key_number, n.nonce FROM message_nonces AS n
     JOIN unnest($1::bigint[], $2::bytea[]) AS asked (key_number, nonce) USING (key_number, nonce)`,
    [numbers, nonces],
  )
  const used = new Set(found.rows.map(row => nameOf(row.key_number, row.nonce)))

  const added: { readonly number: number; readonly nonce: Buffer }[] = []
  const verdicts = group.map(({ keyId, nonce, noncesMax }): NonceVerdict => {
    const key = keys.get(keyId)
    if (key === undefined) return 'gone'
    const name = nameOf(key.number, nonce)
    if (used.has(name)) return 'repeated'
    if (key.nonces_used >= noncesMax) return 'exhausted'
    key.nonces_used++
    used.add(name)
    added.push({ number: key.number, nonce: Buffer.from(nonce) })
    return 'new'
  })
  if (added.length > 0) await add(session, added, [...keys.values()])
  return verdicts
}

async function add(
  session: Session,
  added: readonly { readonly number: number; readonly nonce: Buffer }[],
  keys: readonly UsedKey[],
): Promise<void> {
  await session.query('INSERT INTO message_nonces SELECT * FROM unnest($1::bigint[], $2::bytea[])', [
    added.map(({ number }) => number),
    added.map(({ nonce }) => nonce),
  ])
  await session.query(
    `UPDATE charge_point_keys AS k SET nonces_used = counted.nonces_used
     FROM unnest($1::bigint[], $2::bigint[]) AS counted (number, nonces_used) WHERE k.number = counted.number`,
    [keys.map(({ number }) => number), keys.map(({ nonces_used }) => nonces_used)],
  )
}

function nameOf(keyNumber: number, nonce: Uint8Array): string {
  return `${keyNumber} ${Buffer.from(nonce).toString('hex')}`
}

/** Several instances may do it at once: a key is done when none of its nonces is left, whoever deleted them. */
async function sweepSome(session: Session): Promise<boolean> {
  const due = await session.query<{ key_number: number }>('SELECT key_number FROM keys_to_sweep LIMIT 2')
  const number = due.rows[0]?.key_number
  if (number === undefined) return false
  await session.query(
    `DELETE FROM message_nonces WHERE key_number = $1
     AND nonce IN (SELECT nonce FROM message_nonces WHERE key_number = $1 LIMIT ${SWEEP_NONCES})`,
    [number],
  )
  const done = await session.query(
    'DELETE FROM keys_to_sweep WHERE key_number = $1 AND NOT EXISTS (SELECT FROM message_nonces WHERE key_number = $1)',
    [number],
  )
  return done.rowCount === 0 || due.rows.length > 1
}
