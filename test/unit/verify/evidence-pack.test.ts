/** Evidence packs as the verifier judges them: each way of changing one has its verdict, and the place is named. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { before, type TestContext } from 'node:test'
import { Zip, ZipDeflate, zipSync } from 'fflate'
import { formatCheckpoint, parseCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { formatNote, formatVerifierKey, parseNote, SIGNATURE_TYPE } from '../../../src/evidence/note.ts'
import { readPackZip } from '../../../src/evidence/pack-zip.ts'
import { createSignature } from '../../../src/evidence/signature.ts'
import { kindOf, type Trust, verifyEvidencePack, verifyPath } from '../../../src/verify/index.ts'
import {
  ERASED_ID,
  firstKey,
  flipped,
  makeZip,
  PACK_ORIGIN,
  PAIR,
  type PackFiles,
  packChain,
  signCheckpoint,
  signCheckpointByRevokedKey,
  signerKey,
  signManifest,
  signManifestByRevokedKey,
  withOwnManifest,
  withTwoKeys,
} from '../../harness/pack-under-test.ts'
import { createKey } from '../evidence/keys-under-test.ts'

let zip: Uint8Array
let pack: PackFiles
before(async () => {
  zip = await makeZip()
  pack = new Map(readPackZip(zip))
})

const copy = (): PackFiles => new Map(pack)
const bytesOf = (name: string, files = pack) => files.get(name) ?? assert.fail(name)
const textOf = (name: string, files = pack) => Buffer.from(bytesOf(name, files)).toString()

function changed(name: string, change: (text: string) => string, files = copy()): PackFiles {
  const text = textOf(name, files)
  assert.notEqual(change(text), text)
  return files.set(name, Buffer.from(change(text)))
}

async function verdictOf(files: PackFiles | Uint8Array, trust: Trust = { key: firstKey }): Promise<string> {
  const { verdict, findings } = await verifyEvidencePack(files, trust)
  const at = findings[0]?.at
  return at === undefined ? verdict : `${verdict} ${Object.values(at)[0]}`
}

test('verify a pack: a pristine one, as a zip and as files, by any key of its log', async () => {
  const report = await verifyEvidencePack(zip, { key: firstKey })
  assert.deepEqual(
    [report.verdict, report.exit, report.sentence],
    ['PRISTINE', 0, 'Nothing was changed: 290 events, each under the signed checkpoint of size 300.'],
  )
  assert.deepEqual([report.origin, report.size, report.signed_size, report.erased], [PACK_ORIGIN, 290, 290, 1])
  assert.deepEqual(report.notes, ['1 event is erased; a pack does not say by which event'])
  assert.equal(await verdictOf(copy(), { key: signerKey }), 'PRISTINE')
  const own = await verifyEvidencePack(zip)
  assert.equal(own.verdict, 'PRISTINE')
  assert.match(own.notes[0] ?? '', /^no --key was given/)
})

test('verify a pack: each file, edited in one place, gives its verdict', async () => {
  const line = (n: number, change: (line: string) => string) => (text: string) =>
    text
      .split('\n')
      .map((own, i) => (i === n ? change(own) : own))
      .join('\n')
  const cases: [PackFiles, string][] = [
    [changed('events.ndjson', text => text.replace('"who":"CP-2"', '"who":"CP-3"')), 'EDITED 2'],
    [changed('events.ndjson', text => text.replace('T08:00:02.000Z', 'T07:00:02.000Z')), 'EDITED 2'],
    [
      changed(
        'events.ndjson',
        line(9, text => text.slice(0, -1)),
      ),
      'MALFORMED 10',
    ],
    [changed('events.ndjson', text => text.split('\n').toSpliced(99, 1).join('\n')), 'DELETED 100'],
    [
      changed('events.ndjson', text =>
        text
          .split('\n')
          .toSpliced(5, 2, ...swapped(text, 5))
          .join('\n'),
      ),
      'REORDERED 6',
    ],
    [
      changed('events.ndjson', text => `${text}${lineOf('events.ndjson', 0).replace('"id":1,', '"id":291,')}\n`),
      'INSERTED 291',
    ],
    [
      changed(
        'proofs.ndjson',
        line(9, text => text.replace(/"salt":"./, '"salt":"_')),
      ),
      'MALFORMED 10',
    ],
    [
      changed(
        'proofs.ndjson',
        line(9, text => text.replace(/"hashes":\["..../, '"hashes":["AAAA')),
      ),
      'EDITED 10',
    ],
    [changed('proofs.ndjson', text => text.split('\n').toSpliced(99, 1).join('\n')), 'DELETED the proof of event 100'],
    [changed('checkpoint', text => text.replace('\n300\n', '\n301\n')), 'WRONG_KEY the checkpoint'],
    [changed('checkpoint', text => text.slice(1)), 'WRONG_KEY the checkpoint'],
    [copy().set('checkpoint', Buffer.from('nothing')), 'MALFORMED the checkpoint'],
    [copy().set('checkpoint', Buffer.from(signCheckpointByRevokedKey())), 'REVOKED_KEY the checkpoint'],
    [copy().set('keys', flipped(bytesOf('keys'), 400)), 'WRONG_KEY the key chain'],
    [
      changed('manifest.json', text => text.replace('"events": 290', '"events": 289')),
      'MALFORMED the file manifest.json',
    ],
    [changed('manifest.note', text => text.replace(/^[0-9a-f]{8}/m, '00000000')), 'WRONG_KEY the file manifest.note'],
    [changed('index.html', text => text.replace('Do not rely', 'Do rely')), 'EDITED the file index.html'],
    [changed('index.html', text => `${text} `), 'EDITED the file index.html'],
    [copy().set('index.html', Buffer.from('<p>All is well.')), 'EDITED the file index.html'],
    [copy().set('more.txt', new Uint8Array()), 'INSERTED the file more.txt'],
  ]
  for (const [files, expected] of cases) assert.equal(await verdictOf(files), expected)
  for (const name of ['events.ndjson', 'proofs.ndjson', 'manifest.json']) {
    const files = copy()
    files.delete(name)
    assert.equal(await verdictOf(files), `DELETED the file ${name}`)
  }
  const files = copy()
  files.delete('manifest.note')
  assert.equal(await verdictOf(files), 'UNSIGNED_SELECTION the selection of events')
  const { notes } = await verifyEvidencePack(files)
  assert.match(notes.join('\n'), /^nobody vouches for index\.html, either/m)
})

const lineOf = (name: string, n: number) => textOf(name).split('\n')[n] ?? assert.fail()
const swapped = (text: string, n: number) =>
  text
    .split('\n')
    .slice(n, n + 2)
    .reverse()

test('verify a pack: any bit of any file changed gives another verdict, and exit code, than pristine', async () => {
  for (const [name, bytes] of pack) {
    for (let n = 0; n < 24; n++) {
      const at = Math.floor((n * bytes.length) / 24)
      const { verdict, exit, findings } = await verifyEvidencePack(copy().set(name, flipped(bytes, at)), {
        key: firstKey,
      })
      assert.ok(verdict !== 'PRISTINE' && exit >= 10 && findings.length > 0, `${name} ${at}`)
    }
  }
})

test('verify a pack: what was changed on purpose, with a manifest that fits, is found by the note of the log', async () => {
  const note = bytesOf('manifest.note')
  const cut = (name: string, files: PackFiles) =>
    changed(name, text => `${text.split('\n').slice(0, 200).join('\n')}\n`, files)
  const shorter = withOwnManifest(cut('proofs.ndjson', cut('events.ndjson', copy())), { events: 200 })
  assert.equal(await verdictOf(new Map(shorter).set('manifest.note', note)), 'EDITED the file manifest.json')
  // The note can be taken away, but then nobody says anything of the selection.
  const unsigned = await verifyEvidencePack(shorter, { key: firstKey })
  assert.deepEqual([unsigned.verdict, unsigned.exit, unsigned.findings.length], ['UNSIGNED_SELECTION', 25, 1])
  assert.match(
    unsigned.sentence,
    /^Unsigned: the log does not vouch for the selection of events\. There is no manifest\.note: /,
  )

  const lacking = await verifyEvidencePack(withOwnManifest(copy(), { archives_missing: [3, 4] }))
  assert.match(lacking.notes.join('\n'), /^the pack says that events of archives .* are not in it: 3, 4$/m)

  const blanked = withOwnManifest(copy(), { erased: 0 })
  assert.equal(await verdictOf(blanked), 'EDITED the file proofs.ndjson')
  assert.equal(await verdictOf(withOwnManifest(copy(), { cp_id: 'CP-1' })), 'EDITED the selection')
  assert.equal(await verdictOf(withOwnManifest(copy(), { tree_size: 299 })), 'EDITED the file manifest.json')
  const revoked = copy().set('manifest.note', Buffer.from(signManifestByRevokedKey(textOf('manifest.json'))))
  assert.equal(await verdictOf(revoked), 'REVOKED_KEY the file manifest.note')
  const foreign = Buffer.from(signManifest(textOf('manifest.json'), [createKey(PACK_ORIGIN)]))
  assert.equal(await verdictOf(copy().set('manifest.note', foreign)), 'WRONG_KEY the file manifest.note')
  const later = changed('manifest.json', text => text.replace('"v": 1', '"v": 2'))
  later.delete('manifest.note')
  assert.equal(await verdictOf(later), 'UNVERIFIABLE the file manifest.json')
})

test('verify a pack: what the auditor brings along: key, witnesses, a checkpoint of before', async () => {
  const other = formatVerifierKey(createKey(PACK_ORIGIN).key)
  assert.equal(await verdictOf(zip, { key: other }), 'WRONG_KEY the key chain')
  assert.equal(await verdictOf(zip, { key: 'nonsense' }), 'UNVERIFIABLE the signature')

  const witness = createKey('witness.example', SIGNATURE_TYPE.ed25519Cosignature)
  const witnesses = [formatVerifierKey(witness.key)]
  assert.equal(await verdictOf(zip, { key: firstKey, witnesses }), 'NOT_WITNESSED 300')
  assert.equal(await verdictOf(zip, { key: firstKey, witnesses, quorum: 0 }), 'PRISTINE')
  const signed = parseNote(signCheckpoint()) ?? assert.fail()
  const cosignature = createSignature(witness.key, signed.text, witness.sign, 1_700_000_000)
  const cosigned = formatNote({ ...signed, signatures: [...signed.signatures, cosignature] })
  const witnessed = withOwnManifest(copy().set('checkpoint', Buffer.from(cosigned)))
  witnessed.set('manifest.note', Buffer.from(signManifest(manifestText(witnessed))))
  assert.equal(await verdictOf(witnessed, { key: firstKey, witnesses }), 'PRISTINE')
  const twice = [...witnesses, ...witnesses]
  assert.equal(await verdictOf(witnessed, { key: firstKey, witnesses: twice }), 'PRISTINE')
  assert.equal(await verdictOf(witnessed, { key: firstKey, witnesses: twice, quorum: 2 }), 'NOT_WITNESSED 300')
  assert.equal(await verdictOf(zip, { key: firstKey, witnesses: ['nonsense'] }), 'MALFORMED a witness key')

  assert.equal(await verdictOf(zip, { key: firstKey, trusted: signCheckpoint() }), 'PRISTINE')
  const { size, root } = parseCheckpoint(signed.text) ?? assert.fail()
  assert.equal(
    await verdictOf(zip, {
      key: firstKey,
      trusted: sign(
        size,
        root.map(byte => byte ^ 1),
      ),
    }),
    'FORKED 300',
  )
  assert.equal(await verdictOf(zip, { key: firstKey, trusted: sign(200, root) }), 'UNVERIFIABLE 200')
  assert.equal(await verdictOf(zip, { key: firstKey, trusted: 'x' }), 'MALFORMED the trusted checkpoint')
})

test('verify a pack: of a log with two keys, each signature is wanted, on the checkpoint and on the manifest', async () => {
  const both = PAIR.map(({ key }) => formatVerifierKey(key)).join('\n')
  const files = withTwoKeys(copy())
  const signed = (signers = PAIR as readonly (typeof PAIR)[number][]) =>
    new Map(files).set('manifest.note', Buffer.from(signManifest(manifestText(files), signers)))
  const report = await verifyEvidencePack(signed(), { key: both })
  assert.deepEqual([report.verdict, report.signatures], ['PRISTINE', ['Ed25519', 'ML-DSA-44']])
  assert.equal(await verdictOf(signed([PAIR[0]]), { key: both }), 'WRONG_KEY the file manifest.note')
  assert.equal(await verdictOf(withTwoKeys(copy(), [PAIR[0]]), { key: both }), 'WRONG_KEY the checkpoint')
  // Of the keys that are given each has to be of the log.
  const foreign = formatVerifierKey(createKey('log.example.com/other', SIGNATURE_TYPE.mlDsa44Cosignature).key)
  const mixed = `${both.split('\n')[0]}\n${foreign}`
  assert.equal(await verdictOf(signed(), { key: mixed }), 'WRONG_KEY line 1 of the key chain')
  assert.equal(await verdictOf(zip, { key: both }), 'WRONG_KEY the key chain')
})

const manifestText = (files: PackFiles) => Buffer.from(files.get('manifest.json') ?? assert.fail()).toString()

/** By the present key, which in a pack nobody but the harness has. */
function sign(size: number, root: Uint8Array): string {
  return signCheckpoint(undefined, formatCheckpoint({ origin: packChain.first.name, size, root, extensions: [] }))
}

/** The zip with another length in the central directory's entry of a file. */
function withDeclared(name: string, bytes: number): Uint8Array {
  const made = Buffer.from(zip)
  const at = made.lastIndexOf(name) - 46
  assert.equal(made.readUInt32LE(at), 0x02014b50)
  made.writeUInt32LE(bytes, at + 24)
  return made
}

test('verify a pack: what is no zip, or unpacks into more than a pack can be, is malformed before it is unpacked', async () => {
  const malformed = 'MALFORMED what is to be verified'
  const many = Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`${n}.txt`, new Uint8Array()]))
  const twice: Uint8Array[] = []
  const doubled = new Zip((_error, chunk) => twice.push(chunk))
  for (const name of ['keys', 'keys']) {
    const file = new ZipDeflate(name)
    doubled.add(file)
    file.push(bytesOf('keys'), true)
  }
  doubled.end()
  for (const bytes of [
    new Uint8Array(),
    Buffer.from('no zip'),
    zip.subarray(0, zip.length - 30),
    zip.subarray(0, 40),
    withDeclared('events.ndjson', 700 * 1024 * 1024),
    withDeclared('events.ndjson', 0xffffffff),
    // Each would be parsed as a whole.
    withDeclared('manifest.json', 65 * 1024),
    withDeclared('checkpoint', 1024 * 1024),
    withDeclared('keys', 17 * 1024 * 1024),
    zipSync({ ...Object.fromEntries(pack), 'manifest.json': Buffer.alloc(65 * 1024, '[') }, { level: 0 }),
    zipSync(many),
    Buffer.concat(twice),
  ]) {
    assert.equal(await verdictOf(bytes), malformed)
  }
  // One that says less than it holds is read as far as it says.
  assert.match(await verdictOf(withDeclared('events.ndjson', 1_000)), /^MALFORMED \d$/)
  // What does not belong into a pack is not unpacked.
  assert.equal(
    await verdictOf(zipSync({ ...Object.fromEntries(pack), __proto__x: new Uint8Array(99) })),
    'INSERTED the file __proto__x',
  )
})

test('verify a pack: a file, and a folder that it was unpacked into, are told from mirrors', async t => {
  const folder = temporaryFolder(t)
  const unpacked = join(folder, 'unpacked')
  mkdirSync(unpacked)
  for (const [name, bytes] of pack) writeFileSync(join(unpacked, name), bytes)
  writeFileSync(join(folder, 'pack.zip'), zip)
  for (const path of [unpacked, join(folder, 'pack.zip')]) {
    assert.equal(kindOf(path), 'evidence pack')
    assert.equal((await verifyPath(path, { key: firstKey })).verdict, 'PRISTINE')
  }
  rmSync(join(unpacked, 'manifest.json'))
  assert.equal(
    (await verifyPath(unpacked, { key: firstKey })).sentence,
    'Deleted: the file manifest.json was logged and is missing. It is missing from the pack.',
  )
  writeFileSync(join(folder, 'pack.zip'), '')
  assert.equal((await verifyPath(join(folder, 'pack.zip'))).exit, 22)
})

test('verify a pack: how far it is can be followed, and an erased event has to be blank', async () => {
  const steps: [number, number][] = []
  await verifyEvidencePack(zip, {}, { onProgress: (done, total) => steps.push([done, total]) })
  assert.deepEqual(steps, [
    [0, 290],
    [250, 290],
  ])
  const named = changed('events.ndjson', text =>
    text
      .split('\n')
      .map((line, n) => (n === ERASED_ID - 1 ? line.replace('"who":""', '"who":"CP-2"') : line))
      .join('\n'),
  )
  assert.equal(await verdictOf(named), `EDITED ${ERASED_ID}`)
})

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evc-verify-pack-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
