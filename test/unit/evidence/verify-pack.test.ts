import assert from 'node:assert/strict'
import test, { before } from 'node:test'
import { openCheckpoint, parseCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { openHandOver } from '../../../src/evidence/key-chain.ts'
import { formatNote, parseNote, SIGNATURE_TYPE, type VerifierKey } from '../../../src/evidence/note.ts'
import {
  formatPackProof,
  formatRow,
  PACK_PARTS,
  type PackPart,
  parseManifest,
  parsePackProof,
  parseRow,
} from '../../../src/evidence/pack.ts'
import { formatDisclosure } from '../../../src/evidence/proof.ts'
import { createVerifier, noteKeyOf } from '../../../src/evidence/signature.ts'
import { type PackReport, verifyPack } from '../../../src/evidence/verify-pack.ts'
import {
  announcerKey,
  ERASED_ID,
  flipped,
  inlineRange,
  makePack,
  PAIR,
  type PackFiles,
  packChain,
  packSource,
  pageOf,
  pageWith,
  SELECTION,
  signCheckpoint,
  signCheckpointByRevokedKey,
  signManifest,
  signManifestByRevokedKey,
  withOwnManifest,
  withTwoKeys,
} from '../../harness/pack-under-test.ts'
import { createKey } from './keys-under-test.ts'

let pack: PackFiles
before(async () => {
  pack = await makePack()
})

function verify(files: PackFiles, given: readonly VerifierKey[] = []): PackReport {
  const steps = verifyPack(files, given)
  let step = steps.next()
  while (!step.done) step = steps.next()
  return step.value
}

const problemsOf = (files: PackFiles, given: readonly VerifierKey[] = []) =>
  verify(files, given).problems.map(({ part, fault, id }) => `${part} ${fault}${id === undefined ? '' : ` ${id}`}`)

const copy = () => new Map(pack)
const textOf = (files: PackFiles, name: string) => Buffer.from(files.get(name) ?? assert.fail()).toString()
const linesOf = (name: PackPart) => textOf(pack, name).trimEnd().split('\n')

/** As somebody changes it who also makes the manifest anew. */
function forged(name: PackPart, change: (lines: string[]) => string[]): PackFiles {
  const lines = change(linesOf(name))
  return withOwnManifest(copy().set(name, Buffer.from(lines.map(line => `${line}\n`).join(''))))
}

test('pack: a pristine one has no problem, and every event is proven, also the erased one', () => {
  const { problems, events, manifest, checkpoint, signer, key } = verify(copy())
  assert.deepEqual(problems, [])
  assert.equal(events.length, 290)
  assert.ok(events.every(({ isProven }) => isProven))
  assert.deepEqual(
    events.filter(({ isErased }) => isErased).map(({ row }) => row.id),
    [ERASED_ID],
  )
  assert.deepEqual([manifest?.events, manifest?.erased, checkpoint?.size, key], [290, 1, 300, 'not-compared'])
  assert.equal(signer?.id, packChain.handOvers[0]?.to.ed25519.id)
})

test('pack: any bit changed in any part is found, and the part is named', () => {
  for (const part of [...PACK_PARTS, 'manifest.json', 'manifest.note']) {
    const bytes = pack.get(part) ?? assert.fail()
    const step = Math.max(1, Math.floor(bytes.length / 40))
    for (let at = 0; at < bytes.length; at += step) {
      const problems = problemsOf(copy().set(part, flipped(bytes, at)))
      assert.ok(
        problems.some(problem => problem.startsWith(part)),
        `${part} ${at}: ${problems.join()}`,
      )
    }
  }
})

test('pack: an event or proof that was changed with its manifest is named by its id', () => {
  const replaceIn = (n: number, from: string, to: string) => (lines: string[]) =>
    lines.map((line, i) => (i === n ? line.replace(from, to) : line))
  const changes: [string, string][] = [
    ['"who":"CP-2"', '"who":"CP-3"'],
    ['"action":"AUTH_FAIL"', '"action":"ACCESS"'],
    ['"metadata_json":"{\\"attempt\\":1}"', '"metadata_json":null'],
    ['"created_at":"2026-03-01T09', '"created_at":"2026-03-01T08'],
    ['"date_time":"2026-03-01T08:00:02', '"date_time":"2026-03-01T08:00:03'],
  ]
  for (const [from, to] of changes) {
    assert.deepEqual(problemsOf(forged('events.ndjson', replaceIn(1, from, to))), ['events.ndjson not-logged 2'], from)
  }
  const proof = parsePackProof(linesOf('proofs.ndjson')[1] ?? '') ?? assert.fail()
  const other = formatPackProof({ ...proof, opening: { salt: new Uint8Array(16).fill(9) } })
  const otherProof = forged('proofs.ndjson', lines => lines.with(1, other))
  assert.deepEqual(problemsOf(otherProof), ['events.ndjson not-logged 2'])
  // The digests of the manifest that it was made with say that it is the proof.
  const problems = problemsOf(copy().set('proofs.ndjson', otherProof.get('proofs.ndjson') ?? assert.fail()))
  assert.deepEqual(problems, ['proofs.ndjson wrong-digest', 'proofs.ndjson not-logged 2'])
})

test('pack: events and proofs that are missing, moved, doubled, or of what was not asked for', () => {
  const swap = (lines: string[]) => [lines[1] ?? '', lines[0] ?? '', ...lines.slice(2)]
  const double = (lines: string[]) => [lines[0] ?? '', ...lines]
  assert.deepEqual(problemsOf(forged('events.ndjson', swap)), ['events.ndjson out-of-order 1'])
  assert.deepEqual(problemsOf(forged('proofs.ndjson', swap)), ['proofs.ndjson out-of-order 1'])
  assert.deepEqual(problemsOf(forged('events.ndjson', double)), [
    'events.ndjson out-of-order 1',
    'events.ndjson no-proof 1',
    'events.ndjson wrong-count',
  ])
  for (const n of [0, 100, 289]) {
    const without = (lines: string[]) => lines.toSpliced(n, 1)
    const id = n + 1
    assert.deepEqual(problemsOf(forged('events.ndjson', without)), [
      `events.ndjson no-event ${id}`,
      'events.ndjson wrong-count',
    ])
    assert.deepEqual(problemsOf(forged('proofs.ndjson', without)), [
      `events.ndjson no-proof ${id}`,
      'proofs.ndjson wrong-count',
    ])
  }
  assert.deepEqual(problemsOf(withOwnManifest(copy(), { events: 289 })).length, 2)
  assert.deepEqual(problemsOf(withOwnManifest(copy(), { end_time: '2026-03-01T08:04:50.000Z' })), [
    'events.ndjson not-asked-for 290',
  ])
  assert.ok(problemsOf(withOwnManifest(copy(), { cp_id: 'CP-1' })).every(text => text.includes('not-asked-for')))
  assert.deepEqual(problemsOf(withOwnManifest(copy(), { tree_size: 299 })), ['manifest.json other-checkpoint'])
  assert.deepEqual(problemsOf(withOwnManifest(copy(), { origin: 'other' })), ['manifest.json other-checkpoint'])
  assert.deepEqual(problemsOf(withOwnManifest(copy(), { erased: 0 })), ['proofs.ndjson wrong-count'])
})

test('pack: what is said to be erased has to be blank', () => {
  const proof = parsePackProof(linesOf('proofs.ndjson')[ERASED_ID - 1] ?? '') ?? assert.fail()
  assert.ok('commitment' in proof.opening)
  const files = forged('events.ndjson', lines =>
    lines.with(ERASED_ID - 1, (lines[ERASED_ID - 1] ?? '').replace('"who":""', '"who":"CP-2"')),
  )
  assert.deepEqual(problemsOf(files), [`events.ndjson not-logged ${ERASED_ID}`])
})

test('pack: a checkpoint of a revoked or foreign key, and keys that do not hang together', () => {
  const withCheckpoint = (note: string) => withOwnManifest(copy().set('checkpoint', Buffer.from(note)))
  assert.deepEqual(problemsOf(withCheckpoint(signCheckpointByRevokedKey())), ['checkpoint revoked-key'])
  const foreign = createKey(packChain.first.name)
  assert.deepEqual(problemsOf(withCheckpoint(signCheckpoint([foreign]))), ['checkpoint wrong-signature'])
  assert.deepEqual(problemsOf(withCheckpoint('nothing')), ['checkpoint malformed'])
  const onlyFirst = textOf(pack, 'keys').split('\n')[0]
  const cut = withOwnManifest(copy().set('keys', Buffer.from(`${onlyFirst}\n`)))
  assert.deepEqual(problemsOf(cut), ['checkpoint wrong-signature'])
  const { events } = verify(cut)
  assert.ok(events.every(({ isProven }) => !isProven))
  assert.deepEqual(problemsOf(withOwnManifest(copy().set('keys', Buffer.from('{}\n')))), ['keys broken-chain'])
})

test('pack: a selection that was changed, manifest and all, is not what the log signed', () => {
  assert.equal(verify(copy()).selection, 'signed')
  // The last events are left out, and nobody is said to have asked for them.
  const cut = (lines: string[]) => lines.slice(0, 200)
  let files = copy()
  for (const name of ['events.ndjson', 'proofs.ndjson'] as const) {
    files.set(
      name,
      Buffer.from(
        cut(linesOf(name))
          .map(line => `${line}\n`)
          .join(''),
      ),
    )
  }
  files = withOwnManifest(files, { events: 200, end_time: '2026-03-01T08:03:21.000Z' })
  const unsigned = verify(files)
  assert.deepEqual([unsigned.problems, unsigned.selection], [[], 'unsigned'])
  files.set('manifest.note', pack.get('manifest.note') ?? assert.fail())
  assert.deepEqual(problemsOf(files), ['manifest.json not-signed-for'])
  assert.equal(verify(files).selection, 'wrong')
})

test('pack: the note on a manifest is of the last key of the chain, and nothing else that it signs will do', () => {
  const manifest = textOf(pack, 'manifest.json')
  const withNote = (note: string) => problemsOf(copy().set('manifest.note', Buffer.from(note)))
  assert.deepEqual(withNote(signManifest(manifest)), [])
  assert.deepEqual(withNote(signManifestByRevokedKey(manifest)), ['manifest.note revoked-key'])
  const foreign = createKey(packChain.first.name)
  assert.deepEqual(withNote(signManifest(manifest, [foreign])), ['manifest.note wrong-signature'])
  assert.deepEqual(withNote(signManifest(manifest, [createKey('log.example.com/other')])), [
    'manifest.note wrong-signature',
  ])
  assert.deepEqual(withNote(signCheckpoint()), ['manifest.note malformed'])
  const note = signManifest(manifest)
  assert.equal(parseCheckpoint(parseNote(note)?.text ?? assert.fail()), undefined)
  assert.equal(openHandOver(note), undefined)
  const origin = packChain.first.name
  const log = [createVerifier(packChain.handOvers[0]?.to.ed25519 ?? assert.fail())]
  assert.deepEqual(openCheckpoint(note, { origin, log }), { isTrusted: false, reason: 'malformed' })
})

test('pack: of a log that has announced an ML-DSA-44 key, the note on the manifest wants both signatures, too', () => {
  const files = withTwoKeys(copy())
  const manifest = textOf(files, 'manifest.json')
  const withNote = (note: string) => problemsOf(new Map(files).set('manifest.note', Buffer.from(note)))
  const note = signManifest(manifest, PAIR)
  assert.deepEqual(withNote(note), [])
  const [first, second] = PAIR
  for (const signer of PAIR)
    assert.deepEqual(withNote(signManifest(manifest, [signer])), ['manifest.note missing-signature'])
  const stranger = createKey(first.key.name, SIGNATURE_TYPE.mlDsa44Cosignature)
  assert.deepEqual(withNote(signManifest(manifest, [first, stranger])), ['manifest.note missing-signature'])
  // What each of the two signed for another manifest is wrong, and not merely lacking.
  const { text = '', signatures = [] } = parseNote(note) ?? {}
  const other = parseNote(signManifest(`${manifest} `, PAIR))?.signatures ?? []
  for (const n of [0, 1]) {
    const mixed = formatNote({ text, signatures: signatures.with(n, other[n] ?? assert.fail()) })
    assert.deepEqual(withNote(mixed), ['manifest.note wrong-signature'])
  }
  assert.deepEqual(withNote(signManifest(`${manifest} `, PAIR)), ['manifest.json not-signed-for'])
  assert.equal(signatures[1]?.keyId, noteKeyOf(second.key).id)
})

test('pack: a page that shows another pack, or is another page, is not the one that it was made with', async () => {
  const page = textOf(pack, 'index.html')
  const withPage = (content: string) => problemsOf(copy().set('index.html', Buffer.from(content)))
  assert.deepEqual(withPage(page), [])
  const { start, end } = inlineRange(page)
  const inPack = Math.floor((start + end) / 2)
  const other = pageOf(await makePack({ ...SELECTION, cp_id: 'CP-1' }))
  for (const content of [
    '',
    'no page',
    other,
    pageWith(page, inner => withOwnManifest(inner, { events: 289 })),
    pageWith(page, inner => {
      inner.delete('manifest.json')
      return inner
    }),
    page.replace('<h1>', '<h1>Not '),
    `${page}<script>alert(1)</script>`,
    page.slice(0, end),
    page.slice(0, inPack) + (page[inPack] === 'A' ? 'B' : 'A') + page.slice(inPack + 1),
  ]) {
    assert.deepEqual(withPage(content), ['index.html other-page'], content.slice(0, 40))
  }
  // As a pack without a page is.
  const files = copy()
  files.delete('index.html')
  assert.deepEqual(problemsOf(files), [])
})

test('pack: keys that were given are compared with those of the chain', () => {
  const signer = packChain.handOvers[0]?.to.ed25519 ?? assert.fail()
  for (const key of [packChain.first, signer]) assert.equal(verify(copy(), [key]).key, 'given')
  const other = createKey(packChain.first.name).key
  assert.deepEqual(problemsOf(copy(), [other]), ['keys other-key'])
})

test('pack: files that are missing, or that nobody put there', () => {
  for (const part of [...PACK_PARTS, 'manifest.json']) {
    const files = copy()
    files.delete(part)
    assert.ok(problemsOf(files).includes(`${part} missing`), part)
  }
  assert.deepEqual(problemsOf(copy().set('more.txt', new Uint8Array())), ['more.txt unexpected'])
  assert.ok(problemsOf(new Map()).length >= 5)
})

test('pack: its lines and its manifest have one spelling', () => {
  const [row = '', proof = ''] = [linesOf('events.ndjson')[0], linesOf('proofs.ndjson')[0]]
  assert.equal(formatRow(parseRow(row) ?? assert.fail()), row)
  assert.equal(formatPackProof(parsePackProof(proof) ?? assert.fail()), proof)
  for (const [from, to] of [
    ['"id":1', '"id": 1'],
    ['"id":1', '"id":1.0'],
    ['{"id":1', '{"id":2,"id":1'],
    ['"hashes":[', '"hashes":["AAAA",'],
    ['"salt":"', '"salt":"A'],
    [/"salt":"[^"]*",/, ''],
    ['}', ',"more":1}'],
  ] as const) {
    assert.equal(parsePackProof(proof.replace(from, to)), undefined, `${from}`)
  }
  for (const [from, to] of [
    ['"who":"CP-1"', '"who":7'],
    ['"who":"CP-1",', ''],
    ['{"id":1', '{"who":"x","id":1'],
    ['"status_code":401', '"status_code":4.01e2'],
  ] as const) {
    assert.equal(parseRow(row.replace(from, to)), undefined, `${from}`)
  }
  const manifest = textOf(pack, 'manifest.json')
  assert.equal(typeof parseManifest(Buffer.from(manifest)), 'object')
  assert.equal(parseManifest(Buffer.from(manifest.replace('"v": 1', '"v": 2'))), 'unknown-version')
  for (const [from, to] of [
    ['  "manifest"', ' "manifest"'],
    ['"events": 290', '"events": 291'],
    ['"cp_id": null', '"cp_id": 7'],
  ] as const) {
    assert.equal(parseManifest(Buffer.from(manifest.replace(from, to))), 'malformed', from)
  }
})

test('pack: the disclosure of a proof, and a pack, tell the same row', async () => {
  const { start_time, end_time } = SELECTION
  const times = { start_time, end_time }
  const [first] = (await packSource.queries.provenEvents({ filter: times, after: 0, size: 300, limit: 1 })).events
  assert.ok(first !== undefined && 'salt' in first.opening)
  const disclosure = JSON.parse(
    Buffer.from(formatDisclosure({ salt: first.opening.salt, row: first.event })).toString(),
  )
  const row = parseRow(linesOf('events.ndjson')[0] ?? '')
  assert.deepEqual({ ...disclosure.public, ...disclosure.private }, row)
})

test('pack: of a log that has announced an ML-DSA-44 key, both signatures are verified, and none can be taken away', () => {
  const [first, second] = PAIR
  const given = [first.key, second.key]
  const report = verify(withTwoKeys(copy()), given)
  assert.deepEqual([report.problems, report.algorithms], [[], ['Ed25519', 'ML-DSA-44']])
  assert.deepEqual([report.key, report.cosignatures, report.cosigners], ['given', [], []], 'it is no witness')
  for (const key of [announcerKey, ...given]) assert.equal(verify(withTwoKeys(copy()), [key]).key, 'given')
  for (const signer of PAIR) {
    const { problems, algorithms, events } = verify(withTwoKeys(copy(), [signer]), given)
    assert.deepEqual([problems, algorithms], [[{ part: 'checkpoint', fault: 'missing-signature' }], []])
    assert.ok(events.every(({ isProven }) => !isProven))
  }
  const stranger = createKey(first.key.name, SIGNATURE_TYPE.mlDsa44Cosignature)
  assert.deepEqual(problemsOf(withTwoKeys(copy(), [first, stranger])), ['checkpoint missing-signature'])
  assert.deepEqual(problemsOf(withTwoKeys(copy()), [first.key, stranger.key]), ['keys other-key'])
  assert.deepEqual(verify(copy()).algorithms, ['Ed25519'])
})
