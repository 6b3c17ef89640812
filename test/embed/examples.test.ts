/** Every example runs as it stands, and the embedding guide shows nothing that is not in one of them. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { promisify } from 'node:util'
import { temporaryFolder } from './temporary-audit.ts'

const root = join(import.meta.dirname, '..', '..')
const run = promisify(execFile)

const LOGINS = [
  'AUTH_SUCCESS POST /login 200 CP CP-001 authenticated successfully',
  'AUTH_FAIL POST /login 401 Authentication failed: INVALID_CREDENTIALS',
]
const BROKEN = 'ERROR GET /broken 500 System error: TypeError - the meter does not answer'

const EXPECTED: Readonly<Record<string, readonly string[]>> = {
  'login-audit.ts': [
    'right: { success: true }',
    ...Array<string>(5).fill('wrong: { success: false }'),
    'failures: 5 INVALID_CREDENTIALS',
    'incidents: 1 BRUTE_FORCE_SUSPECTED',
  ],
  'embed.ts': ['2 CP-002 203.0.113.7 INVALID_CREDENTIALS'],
  'fastify.ts': [
    ...LOGINS,
    'VALIDATION_ERROR POST /login 400 Request validation failed: cp_id:required',
    'VALIDATION_ERROR POST /login 400 Request validation failed: body:malformed',
    BROKEN,
  ],
  'express.ts': [...LOGINS, 'VALIDATION_ERROR POST /login 422 Request validation failed: body:malformed', BROKEN],
  'node-http.ts': [...LOGINS, 'VALIDATION_ERROR POST /login 422 Request validation failed: body:json', BROKEN],
}

test('examples: each one in TypeScript is run here', () => {
  const files = readdirSync(join(root, 'examples')).filter(file => file.endsWith('.ts'))
  assert.deepEqual(files.sort(), Object.keys(EXPECTED).sort())
})

for (const [file, lines] of Object.entries(EXPECTED)) {
  test(`examples: ${file} prints what it should and ends by itself`, async t => {
    const cwd = await temporaryFolder(t)
    const { stdout, stderr } = await run(process.execPath, [join(root, 'examples', file)], { cwd, timeout: 60_000 })
    assert.equal(stderr, '')
    assert.deepEqual(stdout.trimEnd().split('\n'), lines)
  })
}

test('examples: every snippet of docs/embedding.md stands in one of them', () => {
  const guide = readFileSync(join(root, 'docs', 'embedding.md'), 'utf8')
  const snippets = [...guide.matchAll(/```ts\n([\s\S]*?)```/g)].map(match => plain(match[1] as string))
  const sources = Object.keys(EXPECTED).map(file => plain(readFileSync(join(root, 'examples', file), 'utf8')))
  assert.ok(snippets.length >= 4)
  for (const snippet of snippets) {
    assert.ok(
      sources.some(source => source.includes(snippet)),
      `not in any example:\n${snippet}`,
    )
  }
})

/** Without indentation, and with the imports as they are from the package. */
function plain(code: string): string {
  return code
    .replaceAll("'../src/embed/index.ts'", "'ev-central'")
    .replaceAll(/'\.\.\/src\/embed\/([a-z-]+)\.ts'/g, "'ev-central/$1'")
    .replaceAll(/^ +/gm, '')
    .trim()
}
