/** docs/deployment.md and the comments of deploy/ name files, commands and options that there are. */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { runHere } from '../cli/command-line.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const TEXT = readFileSync(join(ROOT, 'docs', 'deployment.md'), 'utf8')
const FILES = globSync('deploy/*/*.*', { cwd: ROOT }).concat('deploy/Dockerfile')

test('deployment: every file of deploy/ that is named there is there, and every way is described', () => {
  assert.ok(FILES.length >= 7)
  for (const text of [TEXT, ...FILES.map(file => readFileSync(join(ROOT, file), 'utf8'))]) {
    for (const [name] of text.matchAll(/\bdeploy\/[\w./-]*\w/g)) assert.ok(existsSync(join(ROOT, name)), name)
  }
  for (const folder of ['compose', 'kubernetes', 'systemd']) assert.ok(TEXT.includes(`deploy/${folder}`), folder)
})

test('deployment: where other pages and the unit look for the program and its settings is where they are put there', () => {
  const at = (text: string) =>
    new Set(text.match(/(?:\/opt|\/etc)\/ev-central\/(?:environment|[\w./-]+\/ev-central)(?![\w/])/g))
  const put = at(TEXT)
  assert.deepEqual([...put].sort(), ['/etc/ev-central/environment', '/opt/ev-central/node_modules/.bin/ev-central'])
  const operations = at(readFileSync(join(ROOT, 'docs', 'operations.md'), 'utf8'))
  assert.deepEqual([...operations].sort(), [...put].sort())
})

test('deployment: the commands that are named are those of the command line', async () => {
  const { stdout } = await runHere(['serve', '--help'])
  assert.match(stdout, /--until-ready/)
  const known = (await runHere(['--help'])).stdout
  const named = [...TEXT.matchAll(/(?<![\w/.-])ev-central (cp|serve|backup|monitor)\b/g)].map(
    ([, name]) => name as string,
  )
  assert.ok(named.length > 2)
  for (const name of named) assert.match(known, new RegExp(`^ {2}${name}\\b`, 'm'))
})
