/**
 * What the signatures of a checkpoint cost, with the Ed25519 key alone and with ML-DSA-44 beside it: time to sign as the signer does,
 * from the files of the keys, time to verify, as Node and as browsers do it, and the size of the note.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beginKeyChain, readSigningKeys } from '../src/checkpoint/key-files.ts'
import { formatCheckpoint } from '../src/evidence/checkpoint.ts'
import * as node from '../src/evidence/crypto.ts'
import * as browser from '../src/evidence/crypto-browser.ts'
import { currentKeys, type SigningKey } from '../src/evidence/key-chain.ts'
import { EMPTY_ROOT } from '../src/evidence/merkle.ts'
import { formatNote } from '../src/evidence/note.ts'
import { algorithmOf, createSignature } from '../src/evidence/signature.ts'
import { type Figure, median } from './table.ts'

const ORIGIN = 'log.example/ev-central'
const ROUNDS = 300

export function benchSignatures(): Figure[] {
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-keys-'))
  try {
    const folders = { keys: join(folder, 'keys'), log: join(folder, 'log') }
    const keys = currentKeys(beginKeyChain(folders, ORIGIN, true))
    const text = formatCheckpoint({ origin: ORIGIN, size: 10_000_000, root: EMPTY_ROOT, extensions: [] })
    const sign = ({ key, sign: signMessage }: SigningKey) => createSignature(key, text, signMessage, 1_780_000_000)
    const signers = readSigningKeys(folders, keys)
    const figures = signers.flatMap((signer): Figure[] => {
      const algorithm = algorithmOf(signer.key)
      const message = new TextEncoder().encode(text)
      const signature = signer.sign(message)
      const verify = algorithm === 'Ed25519' ? 'verifyEd25519' : 'verifyMlDsa44'
      const verifyBy = (by: typeof node) => () => by[verify](signer.key.publicKey, message, signature)
      return [
        { name: `${algorithm}: sign a checkpoint, median`, value: medianMs(() => sign(signer)), unit: 'ms' },
        { name: `${algorithm}: verify it in Node, median`, value: medianMs(verifyBy(node)), unit: 'ms' },
        { name: `${algorithm}: verify it as browsers do, median`, value: medianMs(verifyBy(browser)), unit: 'ms' },
      ]
    })
    const bytesOf = (count: number) => {
      const signatures = signers.slice(0, count).map(sign)
      return Buffer.byteLength(formatNote({ text, signatures }))
    }
    return [
      ...figures,
      { name: 'checkpoint signed with Ed25519', value: bytesOf(1), unit: 'bytes' },
      { name: 'checkpoint signed with ML-DSA-44 as well', value: bytesOf(2), unit: 'bytes' },
    ]
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function medianMs(work: () => unknown): number {
  const times = Array.from({ length: ROUNDS }, () => {
    const started = performance.now()
    work()
    return performance.now() - started
  })
  return median(times)
}
