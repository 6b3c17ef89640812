import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { LIMITS } from '../../../src/limits.ts'
import { dataFolder } from '../../../src/service/data-folder.ts'
import { releaseStartReserve } from '../../../src/service/start-reserve.ts'
import { dataFolderOnSmallDisk } from '../../fault/small-disk.ts'

test('start reserve: real blocks for their owner only, given back at the start and set aside again at the end', t => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-start-reserve-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const file = join(directory, 'start-reserve')
  for (let start = 1; start <= 2; start++) {
    using reserve = releaseStartReserve(dataFolder(directory))
    assert.ok(!existsSync(file))
    reserve.setAside()
    const { ino } = statSync(file)
    reserve.setAside()
    assert.equal(statSync(file).ino, ino, 'what is whole stays')
  }
  const { size, blocks, mode } = statSync(file)
  assert.equal(size, LIMITS.startReserveBytes)
  assert.ok(blocks * 512 >= size, 'no hole')
  assert.equal(mode & 0o777, 0o600)
})

test('start reserve: on a full disk it is left for later, and what there is of it takes no room', t => {
  const disk = dataFolderOnSmallDisk(t, '.', '1m')
  if (disk === undefined) return
  const file = join(disk.dataDir, 'start-reserve')
  using reserve = releaseStartReserve(dataFolder(disk.dataDir))
  writeFileSync(join(disk.dataDir, 'part'), Buffer.alloc(1024 * 1024 - LIMITS.startReserveBytes / 2))
  reserve.setAside()
  assert.ok(!existsSync(file))
  disk.fill()
  reserve.setAside()
  disk.empty()
  assert.ok(!existsSync(file))
})

test('start reserve: a link in its place leads to no other file', t => {
  const directory = mkdtempSync(join(tmpdir(), 'evc-start-reserve-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const other = join(directory, 'other')
  writeFileSync(other, 'as it was')
  using reserve = releaseStartReserve(dataFolder(directory))
  symlinkSync(other, join(directory, 'start-reserve'))
  reserve.setAside()
  assert.equal(readFileSync(other, 'utf8'), 'as it was')
  assert.equal(statSync(join(directory, 'start-reserve')).size, LIMITS.startReserveBytes)
})
