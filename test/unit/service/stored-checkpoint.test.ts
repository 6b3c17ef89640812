/** Which checkpoint a command takes, by the files that a service with witnesses leaves. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { formatKeyChain, startKeyChain } from '../../../src/evidence/key-chain.ts'
import { formatNote, parseNote, SIGNATURE_TYPE } from '../../../src/evidence/note.ts'
import { createSignature } from '../../../src/evidence/signature.ts'
import { LIMITS } from '../../../src/limits.ts'
import { chooseCheckpoint, readStoredNotes } from '../../../src/service/stored-checkpoint.ts'
import { createWitnessedLog, numbered } from '../../harness/witnessed-log.ts'
import { createKey, type KeyUnderTest } from '../evidence/keys-under-test.ts'

function storedLog(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'evc-stored-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const log = createWitnessedLog()
  log.append(...numbered(20))
  const [one, two] = ['one.example', 'two.example'].map(name => createKey(name, SIGNATURE_TYPE.ed25519Cosignature)) as [
    KeyUnderTest,
    KeyUnderTest,
  ]
  writeFileSync(join(folder, 'keys'), formatKeyChain(startKeyChain(log.key.key)))
  let storedMs = 0
  const asked: number[] = []
  return {
    one,
    two,
    asked,
    /** The event behind the witnessed ones was stored so long ago. */
    waited(ms: number) {
      storedMs = ms
    },
    write(name: 'checkpoint' | 'witnessed', size: number, ...by: readonly KeyUnderTest[]): string {
      const signed = parseNote(log.checkpoint(size)) ?? assert.fail()
      const cosignatures = by.map(({ key, sign }) => createSignature(key, signed.text, sign, 1_700_000_000))
      const note = formatNote({ ...signed, signatures: [...signed.signatures, ...cosignatures] })
      writeFileSync(join(folder, name), note)
      return note
    },
    read: (witnessQuorum: number) =>
      chooseCheckpoint(
        readStoredNotes({ log: folder }),
        { witnesses: [one, two].map(({ key }) => ({ url: 'http://w.example', key })), witnessQuorum },
        async id => {
          asked.push(id)
          return storedMs === 0 ? undefined : new Date(Date.now() - storedMs).toISOString()
        },
      ),
  }
}

test('stored checkpoint: none; without a quorum the newest', async t => {
  const stored = storedLog(t)
  assert.equal(await stored.read(1), undefined)
  const note = stored.write('checkpoint', 10)
  stored.write('witnessed', 5, stored.one)
  assert.deepEqual(await stored.read(0), { note, kind: 'signed' })
})

test('stored checkpoint: the newest that the quorum cosigned, and the newest signed one when they are late', async t => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() }) // so that a millisecond is one
  const { one, two, asked, waited, write, read } = storedLog(t)
  const newest = write('checkpoint', 10)
  assert.deepEqual(await read(1), { note: newest, kind: 'unwitnessed' }, 'none is witnessed yet')
  const witnessed = write('witnessed', 5, one)
  waited(LIMITS.witnessedWaitMsMax)
  assert.deepEqual(await read(1), { note: witnessed, kind: 'witnessed' })
  assert.deepEqual(asked, [6])
  assert.deepEqual(await read(2), { note: newest, kind: 'unwitnessed' }, 'one of two is too few')
  waited(LIMITS.witnessedWaitMsMax + 1)
  assert.deepEqual(await read(1), { note: newest, kind: 'unwitnessed' })
  waited(0)
  assert.deepEqual(await read(1), { note: newest, kind: 'unwitnessed' }, 'nobody knows since when')

  const both = write('checkpoint', 10, one, two)
  assert.deepEqual(await read(2), { note: both, kind: 'witnessed' })
})

test('stored checkpoint: cosignatures count only of the witnesses of the settings, on a checkpoint of this log', async t => {
  const { waited, write, read } = storedLog(t)
  waited(1_000)
  const newest = write('checkpoint', 10)
  write('witnessed', 5, createKey('one.example', SIGNATURE_TYPE.ed25519Cosignature))
  assert.deepEqual(await read(1), { note: newest, kind: 'unwitnessed' })
  const { one, write: writeOther, read: readOther } = storedLog(t)
  const ahead = writeOther('checkpoint', 5)
  writeOther('witnessed', 10, one)
  assert.deepEqual(await readOther(1), { note: ahead, kind: 'unwitnessed' }, 'never beyond the newest')
})
