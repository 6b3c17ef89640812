/**
 * `npm test`: types, lint, import rules, then every test file; ends with the one line `N passed, N failed`.
 *
 * One PostgreSQL is started for all files that need one and do not stop it. Where there is none for the machine, the files that need
 * one are left out, and named.
 *
 * A few files that fail are run again, and said to be (AGAIN_MAX).
 *
 * The static checks count as one test each, so that a failure of theirs is a failed test like any other.
 */
import { execFile } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { promisify } from 'node:util'
import { EXTERNAL_URL, startPostgres, whyNoPostgres } from '../test/harness/postgres.ts'

const execute = promisify(execFile)
const root = join(import.meta.dirname, '..')
const bin = (name: string) => join(root, 'node_modules', '.bin', name)
/** Nearly every test file, and every service one starts, is made of the same sources: read once, not some 200 times. */
process.env.NODE_COMPILE_CACHE ??= join(root, 'node_modules', '.cache', 'test')
let passed = 0
let failed = 0

const checks: [name: string, command: string, args: string[]][] = [
  ['types', bin('tsc'), ['--noEmit']],
  ['types of the page of evidence packs', bin('tsc'), ['-p', join('src', 'evidence-page')]],
  ['types of the console', bin('tsc'), ['-p', 'console']],
  ['lint and format', bin('biome'), ['check', '.']],
  ['import rules', process.execPath, [join(root, 'scripts', 'check-imports.ts')]],
]
await Promise.all(checks.map(check))

async function check([name, command, args]: (typeof checks)[number]): Promise<void> {
  const result = await execute(command, args, { cwd: root }).then(
    () => undefined,
    (error: { stdout: string; stderr: string }) => error,
  )
  console.log(`${result === undefined ? '✔' : '✖'} ${name}`)
  if (result === undefined) passed++
  else failed++
  if (result !== undefined) console.log(result.stdout + result.stderr)
}

/** Twice the processors of a small machine: most tests wait for a disk, a timer or another process. */
const FILES_AT_ONCE = 4
/**
 * So few files that fail are run once more, alone, and the second result counts: a machine that others use may have kept a service
 * beside three more from answering in time, and that is no failure of what was tested. What is wrong fails twice.
 */
const AGAIN_MAX = 3
const pattern = process.argv[2]
const all = globSync(pattern ?? 'test/**/*.test.ts', { cwd: root }).sort()
const needsPostgres = (file: string) =>
  /harness\/postgres\.ts|EVC_TEST_STORE/.test(readFileSync(join(root, file), 'utf8'))
const whyNone = all.some(needsPostgres) ? await whyNoPostgres() : undefined
const files = whyNone === undefined ? all : all.filter(file => !needsPostgres(file))
// A part of the files does without: each of them starts its own.
const shared =
  pattern === undefined && whyNone === undefined && EXTERNAL_URL === undefined ? startPostgres() : undefined
try {
  if (shared !== undefined) process.env.TEST_SHARED_POSTGRES = await shared.createDatabase()
  if (EXTERNAL_URL !== undefined) process.env.TEST_EXTERNAL_POSTGRES = EXTERNAL_URL
  delete process.env.EVC_TEST_DATABASE_URL
  const results = await runFiles(files, FILES_AT_ONCE)
  const failing = files.filter(file => results.get(file)?.failed !== 0)
  if (failing.length > 0 && failing.length <= AGAIN_MAX) {
    console.log(`\nonce more, one after the other: ${failing.join(', ')}`)
    for (const [file, result] of await runFiles(failing, 1)) results.set(file, result)
  }
  for (const result of results.values()) {
    passed += result.passed
    failed += result.failed
  }
} finally {
  await shared?.stop()
}
for (const file of all.filter(file => !files.includes(file))) console.log(`﹣ ${file} # SKIP no PostgreSQL: ${whyNone}`)
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 && files.length > 0 ? 0 : 1

interface Result {
  readonly passed: number
  readonly failed: number
}

async function runFiles(names: readonly string[], concurrency: number): Promise<Map<string, Result>> {
  // A file that ends without a summary has failed.
  const results = new Map<string, Result>(names.map(name => [name, { passed: 0, failed: 1 }]))
  if (names.length === 0) return results
  const tests = run({ files: names.map(name => join(root, name)), concurrency, timeout: 300_000 })
  tests.on('test:summary', ({ file, success, counts }) => {
    if (file === undefined) return // of the whole run
    const bad = counts.tests - counts.passed - counts.skipped - counts.todo
    results.set(relative(root, file), { passed: counts.passed, failed: success ? bad : Math.max(bad, 1) })
  })
  for await (const text of tests.compose(spec())) process.stdout.write(text)
  return results
}
