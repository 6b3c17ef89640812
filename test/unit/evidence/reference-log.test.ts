/** A log written by transparency-dev/tessera: signatures, entries, tiles and roots of all its checkpoints. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { openCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { growTree, hashLeaf } from '../../../src/evidence/merkle.ts'
import {
  consistencyProof,
  inclusionProof,
  verifyConsistency,
  verifyInclusion,
} from '../../../src/evidence/merkle-proof.ts'
import { parseVerifierKey } from '../../../src/evidence/note.ts'
import { createVerifier } from '../../../src/evidence/signature.ts'
import { formatBundle, formatTilePath, hashesFromTiles, parseBundle, tileAt } from '../../../src/evidence/tile.ts'
import { sharedVectors } from './shared-vectors.ts'

const log = sharedVectors('tlog/reference-log')
const KEY = 'example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx'
const SIZE = 15

const read = (path: string) => Uint8Array.from(readFileSync(join(log.path, path)))

function checkpointOf(size: number) {
  const verifier = createVerifier(parseVerifierKey(KEY)!)
  const opened = openCheckpoint(readFileSync(join(log.path, `checkpoint.${size}`), 'utf8'), {
    origin: 'example.com/log/testdata',
    log: [verifier],
  })
  assert.ok(opened.isTrusted, `checkpoint.${size}`)
  return opened.checkpoint
}

test('reference log: every checkpoint is signed and has the root that its entries give', { skip: log.skip }, () => {
  const tree = growTree()
  for (let size = 0; size <= SIZE; size++) {
    if (size > 0) {
      const bundle = read(formatTilePath(tileAt('entries', 0, size)!))
      const entries = parseBundle(bundle, size)
      assert.ok(entries !== undefined, `bundle of ${size}`)
      assert.deepEqual(formatBundle(entries), bundle)
      tree.append(hashLeaf(entries[size - 1]!))
    }
    assert.equal(checkpointOf(size).size, size)
    assert.deepEqual(checkpointOf(size).root, tree.root(), `checkpoint.${size}`)
  }
})

test('reference log: proofs from its tiles verify against its checkpoints', { skip: log.skip }, () => {
  const entries = parseBundle(read(formatTilePath(tileAt('entries', 0, SIZE)!)), SIZE)!
  for (let size = 1; size <= SIZE; size++) {
    const hashes = hashesFromTiles(size, tile => read(formatTilePath(tile)))
    const head = checkpointOf(size)
    for (let index = 0; index < size; index++) {
      const proof = inclusionProof(index, size, hashes)
      assert.ok(verifyInclusion(hashLeaf(entries[index]!), index, size, proof, head.root), `${index} in ${size}`)
    }
    for (let from = 0; from <= size; from++) {
      assert.ok(verifyConsistency(checkpointOf(from), head, consistencyProof(from, size, hashes)), `${from}, ${size}`)
    }
  }
})
