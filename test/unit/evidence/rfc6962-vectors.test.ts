/** Proofs right and wrong, made by transparency-dev/merkle. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { verifyConsistency, verifyInclusion } from '../../../src/evidence/merkle-proof.ts'
import { sharedVectors } from './shared-vectors.ts'

interface Vector {
  readonly desc: string
  readonly wantErr: boolean
  readonly proof: readonly string[] | null
}

interface InclusionVector extends Vector {
  readonly leafIdx: number
  readonly treeSize: number
  readonly root: string | null
  readonly leafHash: string
}

interface ConsistencyVector extends Vector {
  readonly size1: number
  readonly size2: number
  readonly root1: string | null
  readonly root2: string | null
}

const vectors = sharedVectors('rfc6962')
const bytes = (base64: string | null) => new Uint8Array(Buffer.from(base64 ?? '', 'base64'))

function read<V extends Vector>(kind: string): [name: string, vector: V][] {
  const files = globSync(`${kind}/**/*.json`, { cwd: vectors.path })
  return files.map(file => [file, JSON.parse(readFileSync(join(vectors.path, file), 'utf8')) as V])
}

test('RFC 6962 vectors: every inclusion proof is judged as it should be', { skip: vectors.skip }, () => {
  const found = read<InclusionVector>('inclusion')
  for (const [file, { leafHash, leafIdx, treeSize, proof, root, wantErr }] of found) {
    const verdict = verifyInclusion(bytes(leafHash), leafIdx, treeSize, (proof ?? []).map(bytes), bytes(root))
    assert.equal(verdict, !wantErr, file)
  }
  assert.ok(found.length > 90 && found.some(([, { wantErr }]) => !wantErr), `${found.length} vectors`)
})

test('RFC 6962 vectors: every consistency proof is judged as it should be', { skip: vectors.skip }, () => {
  const found = read<ConsistencyVector>('consistency')
  for (const [file, { size1, size2, root1, root2, proof, wantErr }] of found) {
    const older = { size: size1, root: bytes(root1) }
    const verdict = verifyConsistency(older, { size: size2, root: bytes(root2) }, (proof ?? []).map(bytes))
    assert.equal(verdict, !wantErr, file)
  }
  assert.ok(found.length > 90 && found.some(([, { wantErr }]) => !wantErr), `${found.length} vectors`)
})
