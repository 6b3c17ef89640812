import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import {
  askForRotation,
  beginKeyChain,
  completeHandOver,
  type KeyFolders,
  putChainAside,
  readKeyChain,
  takeHandOver,
} from '../../../src/checkpoint/key-files.ts'
import type { Outcome } from '../../../src/checkpoint/outcome.ts'
import { createSigner, type Signer } from '../../../src/checkpoint/signer.ts'
import { handOverDetails } from '../../../src/checkpoint/signing-keys.ts'
import { openCheckpoint } from '../../../src/evidence/checkpoint.ts'
import {
  currentKey,
  currentKeys,
  keyOfSize,
  type LogKeys,
  listKeys,
  openByChain,
} from '../../../src/evidence/key-chain.ts'
import { algorithmOf, createVerifier } from '../../../src/evidence/signature.ts'
import type { EventStore } from '../../../src/store/event-store.ts'
import { logRoot } from '../../../src/store/log-store.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { batchOf, rowsFrom } from '../../contract/event-store.ts'

const ORIGIN = 'log.example.com/test'

interface Place {
  readonly directory: string
  readonly path: string
  readonly folders: KeyFolders
  readonly store: EventStore
  readonly signer: Signer
  append(count: number): Promise<void>
}

async function inFolder(body: (place: Place) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'evc-signer-'))
  const path = join(directory, 'audit.db')
  const folders = { keys: join(directory, 'log-keys'), log: logRoot(path) }
  const store = createSqliteEventStore({ path, segmentIds: 1_024 })
  const signer = createSigner({ storePath: path, folders })
  let written = 0
  try {
    beginKeyChain(folders, ORIGIN)
    await body({
      directory,
      path,
      folders,
      store,
      signer,
      async append(count) {
        await store.append(batchOf(written, rowsFrom(written, count)))
        written += count
      },
    })
  } finally {
    signer.close()
    await store.close()
    rmSync(directory, { recursive: true })
  }
}

function signed(outcome: Outcome): { size: number; note: string } {
  assert.equal(outcome.kind, 'signed', JSON.stringify(outcome))
  return outcome as Extract<Outcome, { kind: 'signed' }>
}

function causeOf(outcome: Outcome): string {
  return outcome.kind === 'refused' ? outcome.cause : outcome.kind
}

test('signer: signs the tree of what is stored, from size 0 on, and nothing twice', () =>
  inFolder(async ({ signer, store, append, folders }) => {
    await store.lastId() // makes the database
    for (const count of [0, 1, 254, 1, 1, 1_000]) {
      if (count > 0) await append(count)
      const { note, size } = signed(signer.sign())
      assert.equal(size, await store.lastId())
      const chain = readKeyChain(folders) ?? assert.fail()
      const opened = openCheckpoint(note, { origin: ORIGIN, log: [createVerifier(currentKey(chain))] })
      assert.ok(opened.isTrusted)
      assert.equal(opened.checkpoint.size, size)
      assert.equal(readFileSync(join(folders.log, 'checkpoint'), 'utf8'), note)
      assert.deepEqual(signer.sign(), { kind: 'nothing-new', size, note })
    }
  }))

test('signer: an older copy of the database is refused, and so is one that went another way', () =>
  inFolder(async ({ signer, append, path, directory, store }) => {
    await append(300)
    await store.checkpoint()
    const old = join(directory, 'old.db')
    cpSync(path, old)
    await append(300)
    signed(signer.sign())
    const db = new DatabaseSync(path)
    db.exec('UPDATE log_head SET size = 300; DELETE FROM audit_events WHERE id > 300')
    db.close()
    assert.equal(causeOf(signer.sign()), 'ROLLED_BACK')
    const other = new DatabaseSync(path)
    other.exec(`ATTACH '${old}' AS old; DELETE FROM log_head; INSERT INTO log_head SELECT * FROM old.log_head;
      UPDATE log_head SET size = 700`)
    other.close()
    assert.equal(causeOf(signer.sign()), 'BYTES_DIFFER')
  }))

test('signer: a log that was made anew under the same keys is a fork', () =>
  inFolder(async ({ signer, append, path, folders, directory }) => {
    await append(300)
    signed(signer.sign())
    const another = join(directory, 'another', 'audit.db')
    const store = createSqliteEventStore({ path: another })
    await store.append(batchOf(0, rowsFrom(0, 400)))
    await store.close()
    for (const name of ['keys', 'checkpoint', 'checkpoints'])
      cpSync(join(folders.log, name), join(logRoot(another), name))
    const forked = createSigner({ storePath: another, folders: { ...folders, log: logRoot(another) } })
    assert.equal(causeOf(forked.sign()), 'FORKED', path)
    forked.close()
  }))

test('signer: entries that were changed are not signed', () =>
  inFolder(async ({ signer, append, folders }) => {
    await append(600)
    const file = join(folders.log, 'entries-000000')
    const flip = () => {
      const bytes = readFileSync(file)
      bytes[2_000] = (bytes[2_000] as number) ^ 1
      writeFileSync(file, bytes)
    }
    flip()
    assert.equal(causeOf(signer.sign()), 'BYTES_DIFFER')
    assert.ok(!existsSync(join(folders.log, 'checkpoint')))
    flip()
    signed(signer.sign())
  }))

test('signer: a clock behind the last checkpoint signs nothing until it has caught up', () =>
  inFolder(async ({ signer, append, folders, path }) => {
    await append(10)
    signed(signer.sign())
    await append(10)
    const past = createSigner({ storePath: path, folders, clock: () => Date.now() - 3_600_000 })
    assert.equal(causeOf(past.sign()), 'CLOCK_BACK')
    past.close()
    assert.equal(signed(signer.sign()).size, 20)
  }))

test('signer: a damaged checkpoint or a missing private key stops it', () =>
  inFolder(async ({ signer, append, folders }) => {
    await append(10)
    signed(signer.sign())
    const file = join(folders.log, 'checkpoint')
    const note = readFileSync(file, 'utf8')
    writeFileSync(file, note.replace('10', '11'))
    assert.equal(causeOf(signer.sign()), 'CHECKPOINT_DAMAGED')
    rmSync(file)
    assert.equal(causeOf(signer.sign()), 'CHECKPOINT_DAMAGED', 'else an older log could be signed once more')
    writeFileSync(file, note)
    utimesSync(file, new Date(), new Date())
    await append(1)
    rmSync(folders.keys, { recursive: true })
    assert.equal(causeOf(signer.sign()), 'unavailable')
  }))

test('signer: cosignatures are kept with the checkpoint they are of; of an older one only if it is witnessed, for itself', () =>
  inFolder(async ({ signer, append, folders }) => {
    await append(5)
    const { note } = signed(signer.sign())
    const line = note.split('\n').at(-2) as string
    const witnessed = join(folders.log, 'witnessed')
    signer.cosign(`${note}${line}\n`, false)
    assert.equal(readFileSync(join(folders.log, 'checkpoint'), 'utf8'), `${note}${line}\n`)
    assert.equal(existsSync(witnessed), false)
    await append(5)
    const next = signed(signer.sign())
    signer.cosign(`${note}${line}\n`, true)
    assert.equal(readFileSync(join(folders.log, 'checkpoint'), 'utf8'), next.note)
    assert.equal(readFileSync(witnessed, 'utf8'), `${note}${line}\n`)
  }))

test('keys: after a hand-over only the new key signs, at any crash in between the hand-over is the same', () =>
  inFolder(async ({ signer, append, folders }) => {
    await append(5)
    const { size } = signed(signer.sign())
    const before = readKeyChain(folders) ?? assert.fail()
    const { ed25519: next } = askForRotation(folders, before)
    const note = takeHandOver(folders, before, size) ?? assert.fail()
    assert.equal(takeHandOver(folders, before, size + 100), note, 'made once')
    completeHandOver(folders, before, note)
    const chain = readKeyChain(folders) ?? assert.fail()
    completeHandOver(folders, chain, note) // crash before the drafts were removed
    assert.deepEqual(readKeyChain(folders), chain)
    assert.equal(takeHandOver(folders, chain, size), undefined)
    assert.equal(currentKey(chain).id, next.id)
    assert.equal(keyOfSize(chain, size).id, before.first.id)
    assert.equal(keyOfSize(chain, size + 1).id, next.id)
    await append(1)
    const signedByNext = signed(signer.sign())
    assert.ok(openCheckpoint(signedByNext.note, { origin: ORIGIN, log: [createVerifier(next)] }).isTrusted)
    assert.ok(!openCheckpoint(signedByNext.note, { origin: ORIGIN, log: [createVerifier(before.first)] }).isTrusted)
  }))

test('keys: what is asked for while a hand-over is on its way is not lost with it', () =>
  inFolder(async ({ signer, append, folders }) => {
    await append(5)
    const { size } = signed(signer.sign())
    const chain = readKeyChain(folders) ?? assert.fail()
    const first = askForRotation(folders, chain)
    const note = takeHandOver(folders, chain, size) ?? assert.fail()
    const second = askForRotation(folders, chain)
    const grown = completeHandOver(folders, chain, note)
    assert.equal(currentKey(grown).id, first.ed25519.id)
    const next = takeHandOver(folders, grown, size) ?? assert.fail('the second one')
    assert.equal(currentKey(completeHandOver(folders, grown, next)).id, second.ed25519.id)
    assert.equal(takeHandOver(folders, readKeyChain(folders)!, size), undefined)
  }))

test('keys: another origin begins another log, and what was signed before is kept beside it', () =>
  inFolder(async ({ signer, append, folders }) => {
    await append(5)
    const { note } = signed(signer.sign())
    const { first } = readKeyChain(folders) ?? assert.fail()
    const chain = beginKeyChain(folders, 'log.example.com/other')
    assert.notEqual(chain.first.id, first.id)
    assert.equal(readFileSync(join(folders.log, `checkpoint.${first.id}`), 'utf8'), note)
    assert.equal(signed(signer.sign()).size, 5)
    assert.equal(beginKeyChain(folders, undefined).first.name, 'log.example.com/other')
    putChainAside(folders.log)
    assert.equal(readKeyChain(folders), undefined)
  }))

const filesOf = (directory: string) => readdirSync(directory).filter(name => name.endsWith('.pem'))

async function inFolderWithMlDsa44(body: (place: Place) => Promise<void>): Promise<void> {
  await inFolder(async place => {
    putChainAside(place.folders.log)
    rmSync(place.folders.keys, { recursive: true })
    beginKeyChain(place.folders, ORIGIN, true)
    await body(place)
  })
}

test('signer: with ML-DSA-44 every checkpoint from the first on has both signatures, also in another process', () =>
  inFolderWithMlDsa44(async ({ signer, append, folders, path }) => {
    const chain = readKeyChain(folders) ?? assert.fail()
    const { ed25519, mlDsa44 } = currentKeys(chain)
    assert.deepEqual(
      chain.handOvers.map(({ size }) => size),
      [0],
    )
    assert.deepEqual(filesOf(folders.keys).sort(), [ed25519, mlDsa44!].map(({ id }) => `${id}.pem`).sort())
    for (const name of filesOf(folders.keys)) assert.equal(statSync(join(folders.keys, name)).mode & 0o777, 0o600)
    const begun = Math.floor(Date.now() / 1_000)
    for (const count of [1, 300]) {
      await append(count)
      const { note } = signed(signer.sign())
      const opened = openByChain(note, chain)
      assert.ok(opened.isTrusted)
      assert.deepEqual(
        opened.signatures.map(({ key }) => key.id),
        [ed25519.id, mlDsa44!.id],
      )
      assert.ok(opened.signatures[1]!.time! >= begun)
      assert.ok(
        openCheckpoint(note, { origin: ORIGIN, log: [createVerifier(ed25519)] }).isTrusted,
        'who knows only one',
      )
    }
    await append(1)
    const other = createSigner({ storePath: path, folders })
    assert.ok(openByChain(signed(other.sign()).note, chain).isTrusted)
    other.close()
  }))

test('signer: of checkpoints with two signatures one an hour goes into the history, of others one every ten minutes', async () => {
  for (const [inPlace, intervalMs] of [
    [inFolder, 600_000],
    [inFolderWithMlDsa44, 3_600_000],
  ] as const) {
    await inPlace(async ({ append, folders, path }) => {
      const kept: number[] = []
      for (const later of [0, intervalMs - 60_000, intervalMs + 1_000]) {
        await append(1)
        const signer = createSigner({ storePath: path, folders, clock: () => Date.now() + later })
        signed(signer.sign())
        signer.close()
        kept.push(readFileSync(join(folders.log, 'checkpoints'), 'utf8').trimEnd().split('\n').length)
      }
      assert.deepEqual(kept, [1, 1, 2])
    })
  }
})

test('signer: with one of two private keys gone, or another in its place, nothing is signed', () =>
  inFolderWithMlDsa44(async ({ signer, append, folders }) => {
    await append(5)
    signed(signer.sign())
    await append(5)
    const { mlDsa44 } = currentKeys(readKeyChain(folders) ?? assert.fail())
    const file = join(folders.keys, `${mlDsa44!.id}.pem`)
    const kept = readFileSync(file)
    const stranger = (type: 'ed25519' | 'ml-dsa-44' | 'x25519') => {
      const { privateKey } = generateKeyPairSync(type as 'ed25519')
      return privateKey.export({ type: 'pkcs8', format: 'pem' })
    }
    for (const content of [undefined, '', 'x', stranger('ed25519'), stranger('ml-dsa-44'), stranger('x25519')]) {
      rmSync(file, { force: true })
      if (content !== undefined) writeFileSync(file, content)
      const outcome = signer.sign()
      assert.equal(outcome.kind, 'unavailable', String(content))
      assert.match((outcome as { detail: string }).detail, /The keys of the log cannot be used/)
      assert.doesNotMatch((outcome as { detail: string }).detail, /BEGIN|MII|MF/)
    }
    writeFileSync(file, kept)
    assert.equal(signed(signer.sign()).size, 10)
  }))

test('signer: a checkpoint whose second signature was cut off is damaged, and nothing follows on it', () =>
  inFolderWithMlDsa44(async ({ signer, append, folders }) => {
    await append(5)
    const { note } = signed(signer.sign())
    const file = join(folders.log, 'checkpoint')
    writeFileSync(file, `${note.split('\n').slice(0, 5).join('\n')}\n`)
    await append(5)
    assert.equal(causeOf(signer.sign()), 'CHECKPOINT_DAMAGED')
    writeFileSync(file, note)
    assert.equal(signed(signer.sign()).size, 10)
  }))

test('keys: ML-DSA-44 is switched on, rotated and switched off by hand-overs, the same after any crash in between', () =>
  inFolder(async ({ signer, append, folders }) => {
    const algorithms: string[] = []
    const said: (string | undefined)[] = []
    for (const withMlDsa44 of [undefined, true, undefined, false, undefined]) {
      await append(3)
      const { size, note: before } = signed(signer.sign())
      const chain = readKeyChain(folders) ?? assert.fail()
      const keys = askForRotation(folders, chain, withMlDsa44)
      const note = takeHandOver(folders, chain, size) ?? assert.fail()
      assert.equal(takeHandOver(folders, chain, size + 1), note, 'made once')
      completeHandOver(folders, chain, note)
      const grown = readKeyChain(folders) ?? assert.fail()
      completeHandOver(folders, grown, note)
      assert.deepEqual(readKeyChain(folders), grown)
      const idsOf = (of: LogKeys) => listKeys(of).map(({ id }) => id)
      assert.deepEqual(idsOf(currentKeys(grown)), idsOf(keys))
      const { description, metadata } = handOverDetails(note)
      assert.ok(JSON.stringify(metadata).length < 2_000)
      said.push(/, (.*)$/.exec(description)?.[1])
      await append(1)
      const next = openByChain(signed(signer.sign()).note, grown)
      assert.ok(next.isTrusted && openByChain(before, grown).isTrusted)
      algorithms.push(next.signatures.map(({ key }) => algorithmOf(key)).join('+'))
    }
    assert.deepEqual(algorithms, ['Ed25519', 'Ed25519+ML-DSA-44', 'Ed25519+ML-DSA-44', 'Ed25519', 'Ed25519'])
    const [on, off] = ['and an ML-DSA-44 key beside it', 'and no ML-DSA-44 key any more']
    assert.deepEqual(said, [undefined, on, on, off, undefined])
  }))
