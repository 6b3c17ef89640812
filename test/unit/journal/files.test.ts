import assert from 'node:assert/strict'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { nodeFiles } from '../../../src/journal/files.ts'
import { temporaryFolder } from './temporary-folder.ts'

test('journal files: a link leads to no other file', { skip: process.platform === 'win32' }, async t => {
  const folder = temporaryFolder(t)
  await nodeFiles.createDirectory(folder)
  const [other, link] = [join(folder, 'other'), join(folder, 'link')]
  writeFileSync(other, 'as it was')
  symlinkSync(other, link)
  await assert.rejects(nodeFiles.create(link), { code: 'ELOOP' })
  await assert.rejects(nodeFiles.edit(link), { code: 'ELOOP' })
  assert.equal(readFileSync(other, 'utf8'), 'as it was')
  for (const fd of [await nodeFiles.create(other), await nodeFiles.edit(other)]) await nodeFiles.close(fd)
  assert.equal(readFileSync(other, 'utf8'), '')
})
