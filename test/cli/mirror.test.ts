import assert from 'node:assert/strict'
import { cpSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { beginKeyChain, putChainAside } from '../../src/checkpoint/key-files.ts'
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
  const open = ['checkpoint', 'keys', 'tile/0', 'tile/entries/001.p/44'].map(
    name => statSync(join(to, name)).mode & 0o444,
  )
  assert.deepEqual(new Set(open), new Set([0o444 & ~process.umask()]), 'for a web server to read')
  const older = join(root, 'older')
  cpSync(data, older, { recursive: true })
  await grow(300, 300)
  assert.equal((await cli('mirror', to)).stdout, '600 events, 5 files written\n')
  const { code, stdout } = await run(t, ['verify', to])
  assert.equal(code, 0, stdout)
  const behind = await run(t, ['--data-dir', older, 'mirror', to])
  assert.deepEqual([behind.code, /up to event 600, .* up to 300: .*\(ROLLED_BACK\)/.test(behind.stderr)], [2, true])
  putChainAside(dataFolder(older).log) // as a restore does
  beginKeyChain(keyFolders(dataFolder(older)), 'log.example/mirror')
  createSigner({ storePath: dataFolder(older).auditDatabase, folders: keyFolders(dataFolder(older)) }).sign()
  const other = await run(t, ['--data-dir', older, 'mirror', to])
  assert.deepEqual([other.code, /is a mirror of another log.*\(FOLDER_NOT_EMPTY\)/.test(other.stderr)], [2, true])
  assert.equal((await run(t, ['verify', to])).code, 0)
  rmSync(join(to, 'tile', 'entries', '001'))
  writeFileSync(join(to, 'tile', 'entries', '001'), 'x')
  assert.notEqual((await run(t, ['verify', to])).code, 0)
})
