/**
 * Used message nonces on SQLite.
 *
 * A message may be answered only when its nonce is on disk, else a power loss would let it be played again; but an
 * fsync for each would stop the event loop for milliseconds at a time. So a group (nonce-groups.ts) is written in one
 * NORMAL transaction (microseconds each), and then one fsync in the thread pool covers it.
 */

import { createNonceGroups, type UsedNonce } from './nonce-groups.ts'
import type { NonceVerdict } from './security-state.ts'
import type { Connections } from './sqlite-connections.ts'

const SWEEP_NONCES = 5_000

export function createSqliteNonces(connections: Connections) {
  const { reader, writer } = connections
  const isSweepDue = reader.prepare('SELECT 1 FROM keys_to_sweep LIMIT 1')
  const currentKey = writer.prepare('SELECT number, nonces_used FROM keys WHERE key_id = ? AND revoked_at IS NULL')
  const isUsed = writer.prepare('SELECT 1 FROM message_nonces WHERE key_number = ? AND nonce = ?')
  const insert = writer.prepare('INSERT INTO message_nonces (key_number, nonce) VALUES (?, ?)')
  const count = writer.prepare('UPDATE keys SET nonces_used = nonces_used + 1 WHERE number = ?')
  const nextToSweep = writer.prepare('SELECT key_number FROM keys_to_sweep LIMIT 1')
  const sweepSome = writer.prepare(`DELETE FROM message_nonces WHERE key_number = ?1
    AND nonce IN (SELECT nonce FROM message_nonces WHERE key_number = ?1 LIMIT ${SWEEP_NONCES})`)
  const swept = writer.prepare('DELETE FROM keys_to_sweep WHERE key_number = ?')

  function useOne({ keyId, nonce, noncesMax }: UsedNonce): NonceVerdict {
    const key = currentKey.get(keyId)
    if (key === undefined) return 'gone'
    const number = key.number as number
    if (isUsed.get(number, nonce) !== undefined) return 'repeated'
    if ((key.nonces_used as number) >= noncesMax) return 'exhausted'
    insert.run(number, nonce)
    count.run(number)
    return 'new'
  }

  return {
    useNonce: createNonceGroups(async group => {
      const verdicts = await connections.transaction('NORMAL', () => group.map(useOne))
      await connections.synced()
      return verdicts
    }),

    /** Crash inside: some nonces of dead keys are left, which nothing reads; the next sweep goes on. */
    async sweepNonces(): Promise<boolean> {
      if (isSweepDue.get() === undefined) return false
      return connections.transaction('NORMAL', () => {
        const next = nextToSweep.get()
        if (next === undefined) return false
        const number = next.key_number as number
        if (Number(sweepSome.run(number).changes) < SWEEP_NONCES) swept.run(number)
        return nextToSweep.get() !== undefined
      })
    },
  }
}
