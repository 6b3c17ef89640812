/**
 * Used message nonces on SQLite.
 *
 * A message may be answered only when its nonce is on disk, else a power loss would let it be played again; but an
 * fsync for each would stop the event loop for milliseconds at a time. So nonces that arrive together are written in one
 * NORMAL transaction (microseconds each), then one fsync in the thread pool covers the group, and only then are the
 * messages answered. While one group is being synced the next gathers.
 */

import type { NonceVerdict } from './security-state.ts'
import type { Connections } from './sqlite-connections.ts'

interface Waiting {
  readonly keyId: string
  readonly nonce: Uint8Array
  readonly noncesMax: number
  readonly resolve: (verdict: NonceVerdict) => void
  readonly reject: (error: unknown) => void
}

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
  let gathering: Waiting[] = []
  let isWriting = false

  function useOne({ keyId, nonce, noncesMax }: Waiting): NonceVerdict {
    const key = currentKey.get(keyId)
    if (key === undefined) return 'gone'
    const number = key.number as number
    if (isUsed.get(number, nonce) !== undefined) return 'repeated'
    if ((key.nonces_used as number) >= noncesMax) return 'exhausted'
    insert.run(number, nonce)
    count.run(number)
    return 'new'
  }

  async function writeGroups(): Promise<void> {
    isWriting = true
    while (gathering.length > 0) {
      const group = gathering
      gathering = []
      try {
        const verdicts = await connections.transaction('NORMAL', () => group.map(useOne))
        // Crash here: nobody was answered; the nonces may be known, so whoever sends again encrypts again.
        await connections.synced()
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
        if (!isWriting) {
          isWriting = true
          setImmediate(writeGroups) // everything that arrives in this turn of the event loop joins
        }
      })
    },

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
