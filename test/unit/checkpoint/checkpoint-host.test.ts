/** The host of the signer with its thread, keys on disk and a real database: rotations that were cut off, or that a setting asks for. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { type Checkpoints, startCheckpoints } from '../../../src/checkpoint/checkpoint-host.ts'
import {
  askForRotation,
  beginKeyChain,
  type KeyFolders,
  putChainAside,
  readKeyChain,
  takeHandOver,
} from '../../../src/checkpoint/key-files.ts'
import { createSigner } from '../../../src/checkpoint/signer.ts'
import { createThreadSigner, type ThreadSignerOptions } from '../../../src/checkpoint/thread-signer.ts'
import { openByChain } from '../../../src/evidence/key-chain.ts'
import { algorithmOf } from '../../../src/evidence/signature.ts'
import { logRoot } from '../../../src/store/log-store.ts'
import { createSqliteEventStore } from '../../../src/store/sqlite-event-store.ts'
import { batchOf, rowsFrom } from '../../contract/event-store.ts'
import { eventually } from '../../http/harness.ts'

const ORIGIN = 'log.example.com/test'

async function createLog(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'evc-host-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const storePath = join(directory, 'audit.db')
  const folders: KeyFolders = { keys: join(directory, 'log-keys'), log: logRoot(storePath) }
  let written = 0
  async function append(count: number): Promise<number> {
    const store = createSqliteEventStore({ path: storePath, segmentIds: 1_024 })
    await store.append(batchOf(written, rowsFrom(written, count)))
    await store.checkpoint()
    await store.close()
    written += count
    return written
  }
  const handedOver: string[] = []
  function start(options: Partial<ThreadSignerOptions> = {}): Checkpoints {
    const signer = createThreadSigner({
      storePath,
      folders,
      origin: ORIGIN,
      withMlDsa44: false,
      onHandOver: async note => void handedOver.push(note),
      ...options,
    })
    const checkpoints = startCheckpoints({
      signer,
      watchMs: 0,
      onTampered: ({ id, detail }) => assert.fail(`${id}: ${detail}`),
      onRefused: (cause, detail) => assert.fail(`${cause}: ${detail}`),
    })
    t.after(() => checkpoints.close())
    checkpoints.indexed(written)
    return checkpoints
  }
  const signNow = () => {
    const signer = createSigner({ storePath, folders })
    const outcome = signer.sign()
    signer.close()
    assert.equal(outcome.kind, 'signed', JSON.stringify(outcome))
  }
  return { folders, append, start, signNow, handedOver, chain: () => readKeyChain(folders) ?? assert.fail() }
}

test('checkpoints: a hand-over that a kill cut off is finished before anything else is signed', async t => {
  const { folders, append, start, signNow, handedOver, chain } = await createLog(t)
  await append(5)
  beginKeyChain(folders, ORIGIN)
  signNow()
  askForRotation(folders, chain())
  const note = takeHandOver(folders, chain(), 5) ?? assert.fail()
  const size = await append(5) // and killed before it was in the chain
  const checkpoints = start()
  await eventually(() => checkpoints.status().size === size)
  const opened = openByChain(checkpoints.newest() ?? assert.fail(), chain())
  assert.ok(opened.isTrusted, 'the old key may not sign it any more')
  assert.deepEqual([handedOver, chain().handOvers.map(link => link.note)], [[note], [note]])
})

test('checkpoints: while a hand-over cannot be put on record, nothing is signed', async t => {
  const { folders, append, start, signNow, chain } = await createLog(t)
  await append(5)
  beginKeyChain(folders, ORIGIN)
  signNow()
  askForRotation(folders, chain())
  takeHandOver(folders, chain(), 5)
  const size = await append(5)
  let isRecording = false
  const onHandOver = async () => {
    if (!isRecording) throw new Error('the journal is full')
  }
  const checkpoints = start({ onHandOver })
  await eventually(() => checkpoints.status().lastError === 'the journal is full')
  assert.equal(checkpoints.newest(), undefined)
  isRecording = true
  await eventually(() => checkpoints.status().size === size)
  assert.ok(openByChain(checkpoints.newest() ?? assert.fail(), chain()).isTrusted)
})

test('checkpoints: the setting hands over to two keys and back to one, once each, and a restart to nobody', async t => {
  const { append, start, handedOver, chain } = await createLog(t)
  const algorithms = async (checkpoints: Checkpoints, links: number) => {
    await eventually(() => chain().handOvers.length === links)
    const size = await append(1)
    checkpoints.indexed(size)
    await eventually(() => checkpoints.status().size === size)
    const opened = openByChain(checkpoints.newest() ?? assert.fail(), chain())
    await checkpoints.close()
    return opened.isTrusted ? opened.signatures.map(({ key }) => algorithmOf(key)).join('+') : opened.reason
  }
  await append(3)
  const begun = start()
  await eventually(() => begun.status().size === 3)
  assert.equal(await algorithms(begun, 0), 'Ed25519')
  assert.equal(await algorithms(start({ withMlDsa44: true }), 1), 'Ed25519+ML-DSA-44')
  assert.equal(await algorithms(start({ withMlDsa44: true }), 1), 'Ed25519+ML-DSA-44')
  assert.equal(await algorithms(start(), 2), 'Ed25519')
  assert.equal(handedOver.length, 2)
})

test('checkpoints: what was asked for under another origin is forgotten with it', async t => {
  const { folders, append, start, chain } = await createLog(t)
  const size = await append(5)
  beginKeyChain(folders, ORIGIN)
  askForRotation(folders, chain())
  takeHandOver(folders, chain(), 0)
  putChainAside(folders.log)
  const checkpoints = start({ origin: 'log.example.com/other', withMlDsa44: true })
  await eventually(() => checkpoints.status().size === size)
  assert.ok(openByChain(checkpoints.newest() ?? assert.fail(), chain()).isTrusted)
  assert.deepEqual([chain().first.name, chain().handOvers.length], ['log.example.com/other', 1])
  for (const name of ['next', 'hand-over']) assert.equal(existsSync(join(folders.keys, name)), false)
  assert.equal(readFileSync(join(folders.log, 'keys'), 'utf8').split('\n').length, 3)
})

test('checkpoints: of a log without events, that begins with two keys, none is signed, and that is said', async t => {
  const { append, start, chain } = await createLog(t)
  await append(0)
  const checkpoints = start({ withMlDsa44: true })
  await eventually(() => checkpoints.status().lastError === 'nothing is logged yet')
  const size = await append(1)
  checkpoints.indexed(size)
  await eventually(() => checkpoints.status().size === size)
  const opened = openByChain(checkpoints.newest() ?? assert.fail(), chain())
  assert.ok(opened.isTrusted && opened.signatures.length === 2)
})
