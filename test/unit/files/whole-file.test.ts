import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { makeFolders, writePieces, writeWhole } from '../../../src/files/whole-file.ts'

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evc-files-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

test('files: what fails on the way leaves no draft, and what was there before', async t => {
  const folder = temporaryFolder(t)
  const path = join(folder, 'file')
  await writePieces(path, append => append(Buffer.from('whole')))
  const full = Object.assign(new Error('no space'), { code: 'ENOSPC' })
  const failing = writePieces(path, append => {
    append(Buffer.from('half'))
    throw full
  })
  await assert.rejects(failing, full)
  mkdirSync(join(folder, 'taken'))
  assert.throws(() => writeWhole(join(folder, 'taken'), 'whole'), { code: 'EISDIR' })
  assert.deepEqual([readdirSync(folder).sort(), readFileSync(path, 'utf8')], [['file', 'taken'], 'whole'])
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test('files: a link that was left as a draft leads nobody to another file', t => {
  const folder = temporaryFolder(t)
  const other = join(folder, 'other')
  writeFileSync(other, 'as it was')
  symlinkSync(other, join(folder, 'file.draft'))
  writeWhole(join(folder, 'file'), 'new')
  assert.deepEqual([readFileSync(other, 'utf8'), readFileSync(join(folder, 'file'), 'utf8')], ['as it was', 'new'])
  assert.deepEqual(readdirSync(folder).sort(), ['file', 'other'])
})

test('files: a folder is made with what is missing above it, and tells the topmost', t => {
  const folder = temporaryFolder(t)
  const path = join(folder, 'a', 'b', 'c')
  assert.equal(makeFolders(path, 0o700), join(folder, 'a'))
  assert.equal(makeFolders(path, 0o700), undefined)
  assert.equal(makeFolders(join(path, 'd'), 0o700), join(path, 'd'))
  assert.equal(statSync(path).mode & 0o777, 0o700)
})

test('files: where no folder can be made, that is an error, and no endless attempt', {
  skip: !existsSync('/proc/self'),
}, t => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'file'), '')
  symlinkSync(join(folder, 'nowhere'), join(folder, 'link'))
  for (const [path, code] of [
    ['/proc/ev-central', 'ENOENT'],
    ['/proc/ev-central/data', 'ENOENT'],
  ] as const)
    assert.throws(() => makeFolders(path, 0o700), { code })
  assert.throws(() => makeFolders(join(folder, 'file', 'data'), 0o700), { code: 'ENOTDIR' })
  assert.throws(() => makeFolders(join(folder, 'file'), 0o700), { code: 'EEXIST' })
  assert.throws(() => makeFolders(join(folder, 'link'), 0o700), { code: 'EEXIST' })
})
