import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { beginKeyChain } from '../../src/checkpoint/key-files.ts'
import { createSigner } from '../../src/checkpoint/signer.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { keyFolders } from '../../src/service/rotate-key.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { batchOf, rowsFrom } from '../contract/event-store.ts'
import { run, temporaryFolder } from './command-line.ts'

test('mirror: what it writes is verified as it is, grows, and is brought up to date', async t => {
  const root = temporaryFolder(t)
  const [data, to] = [join(root, 'data'), join(root, 'mirror')]
  const folder = dataFolder(data)
  const cli = (...args: string[]) => run(t, ['--data-dir', data, ...args])
  const grow = async (after: number, count: number) => {
    const store = createSqliteEventStore({ path: folder.auditDatabase })
    await store.append(batchOf(after, rowsFrom(after, count)))
    await store.close()
    beginKeyChain(keyFolders(folder), 'log.example/mirror')
    const signer = createSigner({ storePath: folder.auditDatabase, folders: keyFolders(folder) })
    assert.equal(signer.sign().kind, 'signed')
    signer.close()
  }
  const early = await cli('mirror', to)
  assert.deepEqual([early.code, early.stdout], [2, ''])
  assert.match(early.stderr, /holds no audit events yet/)
  await grow(0, 300)
  assert.equal((await cli('mirror', to)).stdout, '300 events, 5 files written\n')
  assert.equal((await run(t, ['verify', to])).code, 0)
  await grow(300, 300)
  assert.equal((await cli('mirror', to)).stdout, '600 events, 5 files written\n')
  const { code, stdout } = await run(t, ['verify', to])
  assert.equal(code, 0, stdout)
  rmSync(join(to, 'tile', 'entries', '001'))
  writeFileSync(join(to, 'tile', 'entries', '001'), 'x')
  assert.notEqual((await run(t, ['verify', to])).code, 0)
})
