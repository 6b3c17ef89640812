/** import, query, summary, monitor and tail over one imported trail; no server runs unless a test says so. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test, { after, before } from 'node:test'
import { COLUMNS } from '../../src/event/event.ts'
import { type ReferenceEvent, run, runHere, start, temporaryFolder, writeReference } from './command-line.ts'

const FIXTURE = join(import.meta.dirname, '../../../shared/fixtures/reference-ev_charging.db')
const ATTACKER = '203.0.113.7'
const HOSTILE = 'bell \u0007 red \u001b[31m bidi \u202e c1 \u009b "quoted", =cell'

/** An attack ten minutes ago, something hostile in a description, and a calm day before. */
function story(now: number): ReferenceEvent[] {
  const minutesAgo = (minutes: number) => new Date(now - minutes * 60_000)
  const calm = Array.from({ length: 1_200 }, (_, i) => ({
    at: minutesAgo(1_500 - i),
    who: `CP-${i % 7}`,
    action: 'AUTH_SUCCESS',
    severity: 'INFO',
    reason: null,
    description: 'authenticated',
  }))
  const attack = Array.from({ length: 25 }, (_, i) => ({ at: minutesAgo(10 - i / 100), who: 'CP-9', ip: ATTACKER }))
  const incident = { at: minutesAgo(9), who: 'CP-9', ip: ATTACKER, action: 'INCIDENT', severity: 'CRITICAL' }
  return [
    ...calm,
    ...attack,
    { ...incident, reason: 'BRUTE_FORCE_SUSPECTED', description: HOSTILE },
    { at: minutesAgo(300), action: 'ERROR', severity: 'ERROR', reason: 'TypeError' },
  ]
}

let folder: string
let dataDir: string

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'evc-cli-trail-'))
  dataDir = join(folder, 'data')
  writeReference(join(folder, 'reference.db'), story(Date.now()))
  const { code, stdout } = await runHere(['import', join(folder, 'reference.db'), '--data-dir', dataDir])
  assert.equal(stdout, '1227 events read, 1227 imported, 0 already there\n')
  assert.equal(code, 0)
})
after(() => rmSync(folder, { recursive: true, force: true }))

const here = (...args: string[]) => runHere([...args, '--data-dir', dataDir])
const onTerminal = (columns: number, ...args: string[]) => runHere([...args, '--data-dir', dataDir], { columns })
const jsonLines = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))

/** The events that wait in the outbox for a server. */
function outbox(ofDataDir: string): { action: string; who: string; reason_code: string; metadata_json: string }[] {
  const db = new DatabaseSync(join(ofDataDir, 'security', 'security.db'), { readOnly: true })
  const rows = db.prepare('SELECT event FROM outbox ORDER BY id').all()
  db.close()
  return rows.map(row => JSON.parse(String(row.event)))
}

test('import: a second run adds nothing and leaves no second event', async () => {
  const { code, stdout, stderr } = await here('import', join(folder, 'reference.db'))
  assert.deepEqual(
    { code, stdout, stderr },
    { code: 0, stdout: '1227 events read, 0 imported, 1227 already there\n', stderr: '' },
  )
  const imported = outbox(dataDir).filter(event => event.reason_code === 'IMPORTED')
  assert.equal(imported.length, 1)
  assert.match(imported[0]?.metadata_json ?? '', /"imported":1227/)
})

test('import: a broken, foreign or missing file is one clear line, exit code 2, and nothing is written', async t => {
  const other = temporaryFolder(t)
  const text = join(other, 'text.db')
  writeFileSync(text, 'this is no database, whatever its name says')
  const foreign = join(other, 'foreign.db')
  const db = new DatabaseSync(foreign)
  db.exec('CREATE TABLE something (id INTEGER)')
  db.close()
  const odd = join(other, 'odd.db')
  writeReference(odd, [{ at: new Date() }, { at: new Date(), action: 'MADE_UP' }])
  for (const file of [text, foreign, odd, join(other, 'missing.db'), other]) {
    const { code, stdout, stderr } = await runHere(['import', file, '--data-dir', join(other, 'data')])
    assert.equal(code, 2, file)
    assert.equal(stdout, '')
    assert.match(stderr, /^error: [^\n]+\n$/)
  }
  assert.ok(!existsSync(join(other, 'data')))
})

test('import: the reference fixture twice, by the real binary', { skip: !existsSync(FIXTURE) }, async t => {
  const data = join(temporaryFolder(t), 'data')
  const first = await run(t, ['import', FIXTURE, '--data-dir', data])
  assert.deepEqual(first, { code: 0, stdout: '1520 events read, 1520 imported, 0 already there\n', stderr: '' })
  const second = await runHere(['import', FIXTURE, '--data-dir', data])
  assert.equal(second.stdout, '1520 events read, 0 imported, 1520 already there\n')
  const incidents = await runHere(['query', '--action', 'INCIDENT', '--all', '--json', '--data-dir', data])
  assert.equal(jsonLines(incidents.stdout).length, 43)
})

test('query: JSON lines have the 14 columns, newest first, and go on by cursor without gap or repeat', async () => {
  const first = await here('query', '--limit', '30', '--json')
  assert.equal(first.code, 0)
  const events = jsonLines(first.stdout)
  assert.deepEqual(Object.keys(events[0]), [...COLUMNS])
  assert.equal(events.length, 30)
  assert.match(first.stderr, /^more: --cursor 1198, or --all\n$/)
  const second = await here('query', '--limit', '1000', '--cursor', '1198', '--json')
  const ids = [...events, ...jsonLines(second.stdout)].map(event => event.id)
  assert.deepEqual(
    ids.slice(0, 1030),
    Array.from({ length: 1030 }, (_, i) => 1227 - i),
  )
})

test('query: --all walks all pages, oldest first if asked', async () => {
  const { stdout, stderr } = await here('query', '--all', '--order', 'asc', '--json')
  assert.deepEqual(
    jsonLines(stdout).map(event => event.id),
    Array.from({ length: 1227 }, (_, i) => i + 1),
  )
  assert.equal(stderr, '')
})

test('query: filters hold together, lists mean any, and relative times work', async () => {
  const count = async (...filters: string[]) => {
    const { stdout } = await here('query', '--all', '--json', ...filters)
    return stdout === '' ? 0 : jsonLines(stdout).length
  }
  assert.equal(await count('--action', 'AUTH_FAIL,INCIDENT', '--who', 'CP-9', '--end-time', 'now'), 26)
  assert.equal(await count('--action', 'AUTH_FAIL', '--ip', `::ffff:${ATTACKER}`), 25)
  assert.equal(await count('--severity', 'critical,error'), 2)
  assert.equal(await count('--reason-code', 'TypeError'), 1)
  assert.equal(await count('--start-time', '-1h', '--end-time', '-30m'), 0)
})

test('query: a bad filter exits with 2 and reads nothing', async () => {
  const bad = [
    ['--action', 'BOGUS'],
    ['--severity', 'LOUD'],
    ['--limit', '0'],
    ['--limit', '1001'],
    ['--cursor', 'x'],
    ['--order', 'sideways'],
    ['--start-time', 'yesterday'],
    ['--start-time', '2026-02-31'],
    ['--start-time', '-1h', '--end-time', '-2h'],
    ['--reason-code', Array(21).fill('A').join(',')],
    ['--who', 'a\u001b[31m'],
    ['--who', 'x'.repeat(65)],
    ['--json', '--csv'],
  ]
  const before = outbox(dataDir).length
  for (const args of bad) {
    const { code, stdout, stderr } = await here('query', ...args)
    assert.equal(code, 2, args.join(' '))
    assert.equal(stdout, '')
    assert.match(stderr, /^error: /)
  }
  assert.equal(outbox(dataDir).length, before)
})

test('query: nothing in an event acts on the terminal or in a spreadsheet, and JSON gives the original back', async () => {
  const args = ['query', '--reason-code', 'BRUTE_FORCE_SUSPECTED']
  const table = await here(...args)
  assert.match(table.stdout, /bell \\u0007 red \\u001b\[31m bidi \\u202e/)
  const json = await here(...args, '--json')
  assert.equal(jsonLines(json.stdout)[0].description, HOSTILE)
  const csv = await here(...args, '--csv')
  assert.equal(csv.stdout.split('\r\n')[0], COLUMNS.join(','))
  for (const { stdout } of [table, json, csv])
    assert.doesNotMatch(stdout, /[\u0000-\u0009\u000b\u000c\u000e-\u001f\u007f-\u009f\u202e]/)
})

test('query: on a terminal lines fit its width and severities have colours, unless NO_COLOR is set', async () => {
  const args = ['query', '--severity', 'CRITICAL', '--data-dir', dataDir]
  const withoutStyle = (text: string) => text.replaceAll(/\u001b\[\d+m/g, '')
  for (const columns of [60, 120]) {
    const { stdout } = await runHere(args, { columns })
    assert.ok(stdout.includes('\u001b[31m'))
    for (const line of withoutStyle(stdout).split('\n')) assert.ok(line.length <= columns, line)
  }
  const plain = await runHere(args, { columns: 120, environment: { NO_COLOR: '1' } })
  assert.ok(!plain.stdout.includes('\u001b'))
})

test('query: reading is on record as an ACCESS event with its filter; exporting as EXPORT', async () => {
  await here('query', '--who', 'CP-3', '--limit', '1')
  await here('query', '--who', 'CP-4', '--all', '--csv')
  const [read, exported] = outbox(dataDir).slice(-2)
  assert.equal(read?.action, 'ACCESS')
  assert.match(read?.who ?? '', /^cli:/)
  assert.equal(read?.reason_code, 'READ')
  assert.deepEqual(JSON.parse(read?.metadata_json ?? ''), { who: 'CP-3' })
  assert.equal(exported?.reason_code, 'EXPORT')
})

test('query: a data folder without events is exit code 2 and stays untouched', async t => {
  const empty = temporaryFolder(t)
  const { code, stderr } = await runHere(['query', '--data-dir', empty])
  assert.equal(code, 2)
  assert.match(stderr, /holds no audit events yet/)
  assert.deepEqual(readdirSync(empty), [])
})

test('query: a reader that goes away ends it quietly', async t => {
  const running = start(t, ['query', '--all', '--csv', '--data-dir', dataDir])
  running.child.stdout?.destroy()
  const { code, stderr } = await running.ended
  assert.equal(code, 0)
  assert.equal(stderr, '')
})

test('summary: totals, tops and a series; as JSON the answer of the query stage', async () => {
  const text = await here('summary', '--start-time', '-2d')
  assert.equal(text.code, 0)
  assert.match(text.stdout, /^1227 events from /)
  assert.match(text.stdout, /^AUTH_FAIL +25$/m)
  assert.match(text.stdout, /^203\.0\.113\.7 +26 +25$/m)
  const json = await here('summary', '--start-time', '-1h', '--bucket', '15m', '--json')
  const summary = JSON.parse(json.stdout)
  assert.equal(summary.total, 26)
  assert.equal(summary.bucket_seconds, 900)
  for (const args of [
    ['--bucket', '1s'],
    ['--bucket', 'often'],
    ['--start-time', '-900d'],
  ]) {
    assert.equal((await here('summary', ...args)).code, 2, args.join(' '))
  }
})

test('monitor: an incident in the window fires its rule and exits with 1', async () => {
  const { code, stdout } = await here('monitor')
  assert.equal(code, 1)
  assert.match(stdout, /FIRING {2}any INCIDENT: 1/)
  assert.match(stdout, /FIRING {2}20 or more AUTH_FAIL within 5 minutes: 25/)
  assert.match(stdout, /quiet {3}any ERROR: 0/)
  assert.match(stdout, /INVALID_CREDENTIALS +25/)
  assert.match(stdout, /BRUTE_FORCE_SUSPECTED/)
  const json = await here('monitor', '--json')
  assert.equal(json.code, 1)
  const report = JSON.parse(json.stdout)
  assert.equal(report.incidents, 1)
  assert.equal(report.failures, 25)
  assert.equal(report.failures_by_minute.length, 60)
  assert.equal(
    report.failures_by_minute.reduce((sum: number, count: number) => sum + count),
    25,
  )
  assert.equal(report.top_addresses[0].ip, ATTACKER)
  assert.equal(report.episodes.length, 1)
})

test('monitor: a calm window is quiet and exits with 0; a longer one sees the ERROR', async () => {
  const calm = await here('monitor', '--minutes', '5')
  assert.equal(calm.code, 0)
  assert.doesNotMatch(calm.stdout, /FIRING/)
  const long = await here('monitor', '--minutes', '400')
  assert.match(long.stdout, /FIRING {2}any ERROR: 1/)
  // More minutes than are asked for at once.
  const report = JSON.parse((await here('monitor', '--minutes', '1440', '--json')).stdout)
  assert.equal(report.failures_by_minute.length, 1_440)
  assert.equal(Math.max(...report.failures_by_minute.slice(-60)), Math.max(...report.failures_by_minute))
  assert.equal(
    report.failures_by_minute.reduce((sum: number, count: number) => sum + count),
    report.failures,
  )
  assert.equal((await here('monitor', '--watch')).code, 2)
})

test('monitor: on a narrow terminal every line fits', async () => {
  const { stdout } = await onTerminal(80, 'monitor')
  for (const line of stdout.replaceAll(/\u001b\[\d+m/g, '').split('\n')) assert.ok(line.length <= 80, line)
})

test('tail: the last events, then new ones within a second, and 0 at SIGINT', async t => {
  const data = join(temporaryFolder(t), 'data')
  const older = join(folder, 'older.db')
  const newer = join(folder, 'newer.db')
  const at = new Date('2026-01-01T00:00:00Z')
  writeReference(
    older,
    [1, 2, 3].map(i => ({ at, who: `CP-${i}` })),
  )
  writeReference(
    newer,
    [4, 5].map(i => ({ at, who: `CP-${i}`, severity: i === 4 ? 'INFO' : 'WARN' })),
  )
  await runHere(['import', older, '--data-dir', data])
  const all = start(t, ['tail', '-n', '2', '--json', '--data-dir', data])
  const warnings = start(t, ['tail', '--severity', 'WARN', '--json', '--data-dir', data])
  await Promise.all([all.printed(/CP-3/), warnings.printed(/CP-3/)])
  await runHere(['import', newer, '--data-dir', data])
  await Promise.all([all.printed(/CP-5/), warnings.printed(/CP-5/)])
  const [first, second] = await Promise.all([all.stop('SIGINT'), warnings.stop('SIGTERM')])
  assert.equal(first.code, 0)
  assert.equal(second.code, 0)
  const names = (text: string) => jsonLines(text).map(event => event.who)
  assert.deepEqual(names(first.stdout), ['CP-2', 'CP-3', 'CP-4', 'CP-5'])
  assert.deepEqual(names(second.stdout), ['CP-1', 'CP-2', 'CP-3', 'CP-5'])
})
