/** What the log signs for evidence packs, and that it signs nothing else for whoever asks. */
import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { readKeyChain } from '../../../src/checkpoint/key-files.ts'
import { signManifest } from '../../../src/checkpoint/pack-note.ts'
import { sha256 } from '../../../src/evidence/crypto.ts'
import { encodeText, formatHex } from '../../../src/evidence/encoding.ts'
import { currentKeys } from '../../../src/evidence/key-chain.ts'
import { parseNote } from '../../../src/evidence/note.ts'
import { formatManifest, type PackManifest } from '../../../src/evidence/pack.ts'
import { checkPackNote } from '../../../src/evidence/pack-note.ts'
import { dataFolder } from '../../../src/service/data-folder.ts'
import { keyFolders } from '../../../src/service/rotate-key.ts'
import { createSignedLog, ORIGIN } from '../../harness/signed-log.ts'

async function signedLog(t: TestContext) {
  const log = createSignedLog()
  t.after(() => log.remove())
  await log.append(5)
  log.sign()
  return { log, folders: keyFolders(dataFolder(log.path)) }
}

function manifestOf(log: { readonly root: string }, change: Partial<PackManifest> = {}): string {
  const digest = { bytes: 1, sha256: '00' }
  const keys = formatHex(sha256(readFileSync(join(log.root, 'keys'))))
  return formatManifest({
    start_time: '2026-03-01T00:00:00.000Z',
    end_time: '2026-03-02T00:00:00.000Z',
    cp_id: null,
    incident: null,
    made_at: '2026-03-02T00:00:00.000Z',
    origin: ORIGIN,
    tree_size: 5,
    events: 5,
    erased: 0,
    archives_missing: [],
    page_sha256: '00',
    files: {
      'events.ndjson': digest,
      'proofs.ndjson': digest,
      checkpoint: digest,
      keys: { bytes: 1, sha256: keys },
    },
    ...change,
  })
}

test('pack note: a manifest of this log is signed by its present key, also after a rotation', async t => {
  const { log, folders } = await signedLog(t)
  for (const rotate of [false, true]) {
    if (rotate) await log.rotate()
    const manifest = manifestOf(log)
    const note = signManifest(folders, manifest) ?? assert.fail()
    assert.equal(checkPackNote(note, encodeText(manifest), readKeyChain(folders) ?? assert.fail()), 'signed')
    const other = encodeText(manifestOf(log, { events: 4 }))
    assert.equal(checkPackNote(note, other, readKeyChain(folders) ?? assert.fail()), 'other-manifest')
  }
})

test('pack note: a log with an ML-DSA-44 key signs with both, and not with one where the other is lost', async t => {
  const { log, folders } = await signedLog(t)
  await log.rotate(true)
  const chain = readKeyChain(folders) ?? assert.fail()
  const manifest = manifestOf(log)
  const note = signManifest(folders, manifest) ?? assert.fail()
  assert.equal(parseNote(note)?.signatures.length, 2)
  assert.equal(checkPackNote(note, encodeText(manifest), chain), 'signed')
  rmSync(join(folders.keys, `${currentKeys(chain).mlDsa44?.id}.pem`))
  assert.equal(signManifest(folders, manifest), undefined)
})

test('pack note: nothing is signed but a manifest to the letter, of this log, with its keys, of a tree that was signed', async t => {
  const { log, folders } = await signedLog(t)
  const manifest = manifestOf(log)
  const before = manifestOf(log)
  for (const text of [
    '',
    `${ORIGIN}\n600\n${'A'.repeat(43)}=\n`,
    JSON.stringify({ manifest: {} }),
    `${manifest} `,
    manifest.replace('"events": 5', '"events": 6'),
    manifestOf(log, { origin: 'log.example/other' }),
    manifestOf(log, { tree_size: 6 }),
    manifestOf(log, { events: 100_001 }),
  ]) {
    assert.equal(signManifest(folders, text), undefined, text)
  }
  await log.rotate()
  assert.equal(signManifest(folders, before), undefined, 'its keys are those of before')
})

test('pack note: without the private key there is none, and no error', async t => {
  const { log, folders } = await signedLog(t)
  const manifest = manifestOf(log)
  rmSync(folders.keys, { recursive: true })
  assert.equal(signManifest(folders, manifest), undefined)
  writeFileSync(join(log.root, 'keys'), 'no chain')
  assert.equal(signManifest(folders, manifest), undefined)
})
