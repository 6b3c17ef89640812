import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { holdFile } from '../../../src/files/held-file.ts'

const MODULE = new URL('../../../src/files/held-file.ts', import.meta.url).href
const refusal = () => new Error('held')

/** In a process of its own. */
function tryElsewhere(file: string): string {
  const script = `const { holdFile } = await import(${JSON.stringify(MODULE)})
    holdFile(${JSON.stringify(file)}, () => new Error('held'))`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  return status === 0 ? 'taken' : stderr.includes('Error: held') ? 'held' : stderr
}

test("files: one that is held is nobody else's, also after a second try of whoever holds it", t => {
  const folder = mkdtempSync(join(tmpdir(), 'evc-held-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'lock.db')
  {
    using _held = holdFile(file, refusal)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.equal(tryElsewhere(file), 'held')
    assert.throws(() => holdFile(file, refusal), /held/)
    assert.equal(tryElsewhere(file), 'held')
  }
  assert.equal(tryElsewhere(file), 'taken')
  if (process.getuid?.() === 0) return // may write anything
  chmodSync(file, 0o400)
  assert.throws(() => holdFile(file, refusal), { code: 'EACCES' })
})
