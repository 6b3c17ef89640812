/** The vectors of docs/formats.md are what the code makes: each block marked `<!-- vector: name -->`, to the letter. */
import assert from 'node:assert/strict'
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { formatCheckpoint } from '../../src/evidence/checkpoint.ts'
import { sha256 } from '../../src/evidence/crypto.ts'
import { encodeText, formatBase64, formatHex } from '../../src/evidence/encoding.ts'
import { formatKeyChain, handOver, startKeyChain } from '../../src/evidence/key-chain.ts'
import { commit, ERASED_COLUMNS, type EventRow, formatLeaf, formatPrivate } from '../../src/evidence/leaf.ts'
import { hashLeaf, hashNode } from '../../src/evidence/merkle.ts'
import { inclusionProof } from '../../src/evidence/merkle-proof.ts'
import { createVerifierKey, formatNote, formatVerifierKey, SIGNATURE_TYPE } from '../../src/evidence/note.ts'
import { formatManifest, formatPackProof, formatRow } from '../../src/evidence/pack.ts'
import { formatPackNote } from '../../src/evidence/pack-note.ts'
import { frameDigest } from '../../src/evidence/pack-page.ts'
import { formatDisclosure, formatProof, verifyProof } from '../../src/evidence/proof.ts'
import { createSignature, createVerifier, noteKeyOf } from '../../src/evidence/signature.ts'
import { createLog, hashesOf } from '../unit/evidence/log-under-test.ts'

const PAGE = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'formats.md'), 'utf8')
const ORIGIN = 'log.example/ev-central'

const ROW: EventRow = {
  id: 1,
  date_time: '2025-12-14T08:30:00.000Z',
  who: 'CP-0001',
  ip: '192.0.2.10',
  action: 'AUTH_FAIL',
  description: 'Wrong secret for "CP-0001", naïvely\n',
  severity: 'WARN',
  reason_code: 'INVALID_CREDENTIALS',
  request_id: null,
  endpoint: '/auth/login',
  http_method: 'POST',
  status_code: 401,
  metadata_json: '{"attempt":1}',
  created_at: '2025-12-14T08:30:00.123Z',
}
const SALT = Uint8Array.from({ length: 16 }, (_, i) => i)

const rows = [ROW, { ...ROW, id: 2 }, { ...ROW, id: 3, reason_code: null, status_code: null }]
const salts = rows.map((_, i) => SALT.map(byte => byte + 16 * i))
const entries = rows.map((row, i) => formatLeaf(row, commit(salts[i]!, row)))
const log = createLog(entries)
const leaves = entries.map(hashLeaf)

/** PKCS#8, up to the seed. */
const ED25519 = '302e020100300506032b657004220420'
const ML_DSA_44 = '3034020100300b060960864801650304031104228020'

function keyOfSeed(prefix: string, first: number) {
  const seed = Uint8Array.from({ length: 32 }, (_, i) => first + i)
  const pkcs8 = Buffer.concat([Buffer.from(prefix, 'hex'), seed])
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  const jwk: Record<string, unknown> = { ...createPublicKey(privateKey).export({ format: 'jwk' }) }
  const publicKey = Uint8Array.from(Buffer.from(String(jwk.x ?? jwk.pub), 'base64url'))
  const type = prefix === ED25519 ? SIGNATURE_TYPE.ed25519 : SIGNATURE_TYPE.mlDsa44Cosignature
  return {
    key: createVerifierKey(ORIGIN, type, publicKey),
    sign: (message: Uint8Array) => sign(null, message, privateKey),
  }
}

const signer = keyOfSeed(ED25519, 0)
const { key } = signer
const second = keyOfSeed(ML_DSA_44, 0)
const text = formatCheckpoint({ origin: ORIGIN, size: 3, root: log.tree.root(), extensions: [] })
const signature = createSignature(key, text, signer.sign)
const checkpoint = formatNote({ text, signatures: [signature] })
const proof = formatProof({
  index: 0,
  hashes: inclusionProof(0, 3, hashesOf(log)),
  checkpoint,
  extra: formatDisclosure({ salt: SALT, row: ROW }),
})

let cosignedMessage = new Uint8Array()
createSignature(
  second.key,
  text,
  message => {
    cosignedMessage = message.slice()
    return second.sign(message)
  },
  1_780_000_000,
)
const handedOver = handOver(startKeyChain(key), 3, [signer], [keyOfSeed(ED25519, 32)]).handOvers[0]!

const digestOf = (content: string) => ({
  bytes: encodeText(content).length,
  sha256: formatHex(sha256(encodeText(content))),
})
const packProof = { id: 1, opening: { salt: SALT }, hashes: inclusionProof(0, 3, hashesOf(log)) }
const manifest = formatManifest({
  made_at: '2025-12-15T09:00:00.000Z',
  origin: ORIGIN,
  start_time: '2025-12-14T08:00:00.000Z',
  end_time: '2025-12-14T09:00:00.000Z',
  cp_id: 'CP-0001',
  incident: null,
  tree_size: 3,
  events: 1,
  erased: 0,
  archives_missing: [],
  page_sha256: frameDigest('<!doctype html>', '</html>'),
  files: {
    'events.ndjson': digestOf(`${formatRow(ROW)}\n`),
    'proofs.ndjson': digestOf(`${formatPackProof(packProof)}\n`),
    checkpoint: digestOf(checkpoint),
    keys: digestOf(formatKeyChain(startKeyChain(key))),
  },
})
const packNote = formatPackNote(ORIGIN, encodeText(manifest), [signer])

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const utf8 = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')

const VECTORS: Record<string, string> = {
  row: JSON.stringify(ROW, null, 2),
  salt: hex(SALT),
  private: formatPrivate(ROW),
  commitment: `${hex(commit(SALT, ROW))}\n${formatBase64(commit(SALT, ROW))}`,
  leaf: utf8(entries[0]!),
  'leaf hash': hex(leaves[0]!),
  leaves: entries.map(utf8).join('\n'),
  tree: [...leaves, hashNode(leaves[0]!, leaves[1]!), log.tree.root()].map(hex).join('\n'),
  bundle: `${hex(log.tiles.get('tile/entries/000.p/3')!).slice(0, 24)}...`,
  key: formatVerifierKey(key),
  checkpoint: checkpoint.trimEnd(),
  'ml-dsa-44 key': [
    createHash('sha256').update(second.key.publicKey).digest('hex'),
    second.key.id,
    noteKeyOf(second.key).id,
  ].join('\n'),
  'cosigned message': hex(cosignedMessage),
  'hand-over': handedOver.note.trimEnd(),
  disclosure: utf8(formatDisclosure({ salt: SALT, row: ROW })),
  proof: proof.trimEnd(),
  manifest: manifest.trimEnd(),
  'manifest note': packNote.trimEnd(),
  erased: JSON.stringify({ ...ROW, ...ERASED_COLUMNS }, null, 2),
}

for (const [name, expected] of Object.entries(VECTORS)) {
  test(`formats: the vector "${name}" is what the code makes`, () => {
    const [, block] = new RegExp(`<!-- vector: ${name} -->\n\`\`\`\\w*\n([^\`]*)\n\`\`\``).exec(PAGE) ?? []
    assert.equal(block, expected)
  })
}

test('formats: every vector of the page is one of these, and the proof on it proves the row on it', () => {
  const named = [...PAGE.matchAll(/<!-- vector: (.*) -->/g)].map(match => match[1])
  assert.deepEqual(named.sort(), Object.keys(VECTORS).sort())
  const verdict = verifyProof(proof, { origin: ORIGIN, log: [createVerifier(key)] })
  assert.ok(verdict.isProven)
  assert.deepEqual(verdict.row, ROW)
})
