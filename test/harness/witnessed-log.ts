/** A small log in memory, with its key, for witnesses: signed checkpoints of any of its sizes, proofs between them, and forks. */
import { formatCheckpoint } from '../../src/evidence/checkpoint.ts'
import { handOver, type KeyChain, type SigningKey, startKeyChain } from '../../src/evidence/key-chain.ts'
import { EMPTY_ROOT, type Hash, hashLeaf, hashNode } from '../../src/evidence/merkle.ts'
import { consistencyProof, type ReadHash, rootHash } from '../../src/evidence/merkle-proof.ts'
import { formatNote, formatVerifierKey } from '../../src/evidence/note.ts'
import { createSignature } from '../../src/evidence/signature.ts'
import { formatAddCheckpoint } from '../../src/evidence/witness-message.ts'
import { createKey } from '../unit/evidence/keys-under-test.ts'

export interface WitnessedLog {
  readonly key: SigningKey
  /** As `--log` takes it. */
  readonly verifierKey: string
  readonly size: number
  append(...leaves: readonly string[]): void
  root(size: number): Hash
  /** Signed, of the newest tree by the first key unless it is said. */
  checkpoint(size?: number, key?: SigningKey): string
  proof(from: number, to: number): Hash[]
  /** The body of a request. */
  request(from: number, to?: number, key?: SigningKey): string
  /** The same key and the first `size` leaves, then others. */
  fork(size: number): WitnessedLog
  /** The signed note by which the key was handed over, and what signs then. */
  rotate(
    size: number,
    from?: SigningKey,
  ): { readonly note: string; readonly chain: KeyChain; readonly next: SigningKey }
}

export function createWitnessedLog(origin = 'log.example/ev-central'): WitnessedLog {
  return logOf(createKey(origin), [])
}

export const numbered = (count: number, first = 0) => Array.from({ length: count }, (_, n) => `leaf ${first + n}`)

function logOf(key: SigningKey, leaves: string[]): WitnessedLog {
  const hashes = leaves.map(hashOf)
  const readHash: ReadHash = (height, index) =>
    height === 0
      ? (hashes[index] as Hash)
      : hashNode(readHash(height - 1, index * 2), readHash(height - 1, index * 2 + 1))
  const log: WitnessedLog = {
    key,
    verifierKey: formatVerifierKey(key.key),
    get size() {
      return hashes.length
    },
    append(...more) {
      leaves.push(...more)
      hashes.push(...more.map(hashOf))
    },
    root: size => (size === 0 ? EMPTY_ROOT : rootHash(size, readHash)),
    checkpoint(size = hashes.length, { key: signer, sign } = key) {
      const text = formatCheckpoint({ origin: key.key.name, size, root: log.root(size), extensions: [] })
      return formatNote({ text, signatures: [createSignature(signer, text, sign)] })
    },
    proof: (from, to) => consistencyProof(from, to, readHash),
    request: (from, to = hashes.length, signer = key) =>
      formatAddCheckpoint({ oldSize: from, proof: log.proof(from, to), checkpoint: log.checkpoint(to, signer) }),
    fork: size => logOf(key, leaves.slice(0, size)),
    rotate(size, from = key) {
      const next = createKey(key.key.name)
      const chain = handOver(startKeyChain(from.key), size, [from], [next])
      return { note: chain.handOvers[0]!.note, chain, next }
    },
  }
  return log
}

const hashOf = (leaf: string) => hashLeaf(new TextEncoder().encode(leaf))
