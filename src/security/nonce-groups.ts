/**
 * Nonces that arrive together are used together, as one commit and one fsync cost more than all of them: while one group is
 * being written the next gathers. Nobody is answered before their group is on disk.
 */
import type { NonceVerdict, SecurityState } from './security-state.ts'

export interface UsedNonce {
  readonly keyId: string
  readonly nonce: Uint8Array
  readonly noncesMax: number
}

interface Waiting extends UsedNonce {
  readonly resolve: (verdict: NonceVerdict) => void
  readonly reject: (error: unknown) => void
}

/**
 * @param useAll resolves when all of them are on disk, with a verdict for each, in order. Crash after that: nobody was answered; the nonces
 * may be known, so whoever sends again encrypts again.
 */
export function createNonceGroups(
  useAll: (group: readonly UsedNonce[]) => Promise<readonly NonceVerdict[]>,
  groupMax = Number.POSITIVE_INFINITY,
): SecurityState['useNonce'] {
  const gathering: Waiting[] = []
  let isWriting = false

  async function writeGroups(): Promise<void> {
    while (gathering.length > 0) {
      const group = gathering.splice(0, groupMax)
      try {
        const verdicts = await useAll(group)
        for (const [i, waiting] of group.entries()) waiting.resolve(verdicts[i] as NonceVerdict)
      } catch (error) {
        for (const waiting of group) waiting.reject(error)
      }
    }
    isWriting = false
  }

  return (keyId, nonce, noncesMax) =>
    new Promise((resolve, reject) => {
      gathering.push({ keyId, nonce, noncesMax, resolve, reject })
      if (isWriting) return
      isWriting = true
      setImmediate(writeGroups) // everything that arrives in this turn of the event loop joins
    })
}
