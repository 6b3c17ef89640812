/** examples/verify_log.py, which shares nothing with our code, on logs that our code wrote. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import test from 'node:test'
import { formatCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { commit, formatLeaf } from '../../../src/evidence/leaf.ts'
import { formatNote, formatVerifierKey, SIGNATURE_TYPE } from '../../../src/evidence/note.ts'
import { createSignature } from '../../../src/evidence/signature.ts'
import { createKey } from './keys-under-test.ts'
import { createLog, type LogUnderTest } from './log-under-test.ts'
import { rowOf } from './row-under-test.ts'

const ORIGIN = 'example.com/log'
const KEY = createKey(ORIGIN)
const WITNESS = createKey('witness.example/w1', SIGNATURE_TYPE.mlDsa44Cosignature)
const PROGRAM = join(import.meta.dirname, '..', '..', '..', 'examples', 'verify_log.py')
const skip = spawnSync('python3', ['--version']).status === 0 ? false : 'there is no python3 on the PATH'

const folder = mkdtempSync(join(tmpdir(), 'evc-mirror-'))
test.after(() => rmSync(folder, { recursive: true }))

function entryOf(id: number, status_code = 401): Uint8Array {
  const row = { ...rowOf(id), status_code }
  return formatLeaf(row, commit(new Uint8Array(16).fill(id), row))
}

function logOf(size: number): LogUnderTest {
  return createLog(Array.from({ length: size }, (_, i) => entryOf(i + 1)))
}

function writeMirror(log: LogUnderTest, signers = [KEY]): (path: string) => string {
  const mirror = mkdtempSync(join(folder, 'log-'))
  const text = formatCheckpoint({ origin: ORIGIN, size: log.tree.size, root: log.tree.root(), extensions: [] })
  const signatures = signers.map(({ key, sign }) => createSignature(key, text, sign, 1000))
  const files = new Map<string, string | Uint8Array>([['checkpoint', formatNote({ text, signatures })], ...log.tiles])
  for (const [path, bytes] of files) {
    mkdirSync(dirname(join(mirror, path)), { recursive: true })
    writeFileSync(join(mirror, path), bytes)
  }
  return path => join(mirror, path)
}

function verify(mirror: (path: string) => string, key = formatVerifierKey(KEY.key)) {
  const { status, stdout } = spawnSync('python3', [PROGRAM, mirror('.'), key], { encoding: 'utf8' })
  return { status, line: stdout.trimEnd() }
}

test('verify_log.py: logs of every size are intact, with a witness as well', { skip }, () => {
  for (const size of [0, 1, 2, 255, 256, 257, 70_000]) {
    const log = logOf(size)
    const root = Buffer.from(log.tree.root()).toString('base64')
    assert.deepEqual(verify(writeMirror(log, [WITNESS, KEY])), {
      status: 0,
      line: `OK: ${ORIGIN}, ${size} entries, root ${root}`,
    })
  }
})

test('verify_log.py: a mirror that has the full tiles of a later size is intact too', { skip }, () => {
  const log = logOf(257)
  const text = formatCheckpoint({ origin: ORIGIN, size: 200, root: logOf(200).tree.root(), extensions: [] })
  const mirror = writeMirror(log)
  writeFileSync(mirror('checkpoint'), formatNote({ text, signatures: [createSignature(KEY.key, text, KEY.sign)] }))
  assert.equal(verify(mirror).status, 0)
})

test('verify_log.py: one bit of any file of the log changed is found', { skip }, () => {
  const log = logOf(600)
  const current = [...log.tiles.keys(), 'checkpoint']
  for (const path of current) {
    const mirror = writeMirror(log)
    const bytes = readFileSync(mirror(path))
    bytes[Math.floor(bytes.length / 2)]! ^= 1
    writeFileSync(mirror(path), bytes)
    const { status, line } = verify(mirror)
    assert.equal(status, 1, `${path}: ${line}`)
    assert.match(line, /^FAILED: /)
  }
})

test('verify_log.py: a log that is consistent in itself but not the one signed is found', { skip }, () => {
  const signed = writeMirror(logOf(300))
  const rewritten = createLog(Array.from({ length: 300 }, (_, i) => entryOf(i + 1, i === 7 ? 200 : 401)))
  const mirror = writeMirror(rewritten)
  writeFileSync(mirror('checkpoint'), readFileSync(signed('checkpoint')))
  assert.equal(verify(mirror).line, 'FAILED: the entries do not give the root that was signed')

  const gap = createLog([entryOf(1), entryOf(3)])
  assert.equal(verify(writeMirror(gap)).line, 'FAILED: entry 1 is of row 3, not 2')
})

test('verify_log.py: a cut log, another key, no signature and a missing file are found', { skip }, () => {
  const mirror = writeMirror(logOf(300))
  assert.equal(verify(mirror, formatVerifierKey(createKey(ORIGIN).key)).status, 1)
  assert.equal(verify(mirror, formatVerifierKey(KEY.key).slice(0, -4)).status, 1)
  assert.equal(verify(mirror, 'no key').status, 1)
  rmSync(mirror('tile/entries/001.p/44'))
  assert.match(verify(mirror).line, /^FAILED: .*No such file/)
  assert.equal(verify(writeMirror(logOf(3), [WITNESS])).line, 'FAILED: the checkpoint is not signed by this key')
  const cut = writeMirror(logOf(300))
  writeFileSync(cut('checkpoint'), readFileSync(cut('checkpoint'), 'utf8').replace('\n300\n', '\n299\n'))
  assert.equal(verify(cut).line, 'FAILED: the signature of the checkpoint is wrong')
})
