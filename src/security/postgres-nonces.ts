/**
 * Used message nonces in PostgreSQL. Nonces that arrive together are one transaction, as a commit costs more than all of them:
 * while one group is being written the next gathers. Their keys are locked, in one order, so that two instances agree which of
 * two equal nonces was first, and a key that is dropped meanwhile is `gone`.
 */
import type { Session } from '../postgres/postgres.ts'
import type { PostgresChanges } from './postgres-change.ts'
import type { NonceVerdict } from './security-state.ts'

interface Waiting {
  readonly keyId: string
  readonly nonce: Uint8Array
  readonly noncesMax: number
  readonly resolve: (verdict: NonceVerdict) => void
  readonly reject: (error: unknown) => void
}

interface UsedKey {
  readonly key_id: string
  readonly number: number
  nonces_used: number
}

const GROUP_MAX = 500
const SWEEP_NONCES = 5_000

export function createPostgresNonces({ write }: Pick<PostgresChanges, 'write'>) {
  const gathering: Waiting[] = []
  let isWriting = false

  async function writeGroups(): Promise<void> {
    while (gathering.length > 0) {
      const group = gathering.splice(0, GROUP_MAX)
      try {
        // Crash after the commit: nobody was answered; the nonces may be known, so whoever sends again encrypts again.
        const verdicts = await write(session => useAll(session, group))
        for (const [i, waiting] of group.entries()) waiting.resolve(verdicts[i] as NonceVerdict)
      } catch (error) {
        for (const waiting of group) waiting.reject(error)
      }
    }
    isWriting = false
  }

  return {
    useNonce(keyId: string, nonce: Uint8Array, noncesMax: number): Promise<NonceVerdict> {
      return new Promise((resolve, reject) => {
        gathering.push({ keyId, nonce, noncesMax, resolve, reject })
        if (isWriting) return
        isWriting = true
        setImmediate(writeGroups) // everything that arrives in this turn of the event loop joins
      })
    },

    /** Crash inside: some nonces of dead keys are left, which nothing reads; the next sweep goes on. */
    sweepNonces: (): Promise<boolean> => write(sweepSome),
  }
}

async function useAll(session: Session, group: readonly Waiting[]): Promise<NonceVerdict[]> {
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
