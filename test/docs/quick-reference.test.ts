/**
 * Every SQL, HTTP and command line under "Questions" of docs/quick-reference.md is run against a real service and its data
 * folder, and has to find what is known to be there: the same events through all three doors.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import test, { after, before, describe } from 'node:test'
import { pino } from 'pino'
import { ACTIONS } from '../../src/event/catalogue.ts'
import { COLUMNS, type StoredEvent } from '../../src/event/event.ts'
import { type Central, startCentral } from '../../src/service/central.ts'
import { openPipeline, type Pipeline } from '../../src/service/pipeline.ts'
import { readSettings } from '../../src/settings/settings.ts'
import { documentedSchema } from '../../src/store/segments.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { runHere, writeReference } from '../cli/command-line.ts'
import { batchOf, rowsFrom } from '../contract/event-store.ts'

const TEXT = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'quick-reference.md'), 'utf8')
const ADMIN_KEY = 'first-admin-key-0123456789abcdef0123456789'
const HOUR_MS = 3_600_000
const SINCE = new Date(Date.now() - 24 * HOUR_MS).toISOString()

type SqlRow = Record<string, unknown>
// biome-ignore lint/suspicious/noExplicitAny: the tests look into answers
type Json = any

interface Question {
  readonly title: string
  readonly http: readonly string[]
  readonly cli: readonly string[]
  readonly sql: readonly string[]
}

let folder: string
let central: Central
let pipeline: Pipeline

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'evc-docs-'))
  const settings = readSettings({
    EVC_PORT: '0',
    EVC_DATA_DIR: join(folder, 'data'),
    EVC_ADMIN_KEY: ADMIN_KEY,
    EVC_TRUSTED_PROXIES: '127.0.0.1',
  })
  central = await startCentral(settings, pino({ level: 'silent' }), async options => {
    pipeline = await openPipeline(options)
    return pipeline
  })
  await fill()
  assert.ok(await pipeline.caughtUp(5_000))
})

after(async () => {
  await central?.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** What the answers below are known from. */
async function fill(): Promise<void> {
  const old = { at: new Date(Date.now() - 48 * HOUR_MS), who: 'CP-0042', ip: '203.0.113.7' }
  const file = join(folder, 'old.db')
  writeReference(file, [old, { ...old, action: 'INCIDENT', reason: 'BRUTE_FORCE_SUSPECTED', severity: 'CRITICAL' }])
  await command('import', file)
  const { key } = JSON.parse(await command('admin', 'add', 'alice', '--role', 'operator', '--json'))
  const alice = { 'x-admin-key': key }

  await send('/charge-points', { cp_id: 'CP-0042' }, alice)
  await send('/keys/generate', { cp_id: 'CP-0042' }, alice)
  await send('/keys/reset', { cp_id: 'CP-0042', reason: 'yearly' }, alice)
  await send('/status/out-of-service', { cp_id: 'CP-0042', reason: 'cable damaged' }, alice)
  await send('/status/restore', { cp_id: 'CP-0042' }, alice)
  await send('/audit/events?limit=1', undefined, alice)
  for (let i = 1; i <= 6; i++) {
    const id = i === 5 ? { 'x-request-id': 'req-7f3a' } : {} // the fifth brings the incident
    await send('/auth/credentials', { cp_id: 'CP-0042', credentials: 'wrong' }, { ...from('203.0.113.7'), ...id })
  }
  for (const cp_id of ['CP-0042', 'CP-0007', 'CP-0007']) {
    await send('/auth/credentials', { cp_id, credentials: 'wrong' }, from('198.51.100.9'))
  }
  await send('/charge-points', { cp_id: 'CP-1' }, { 'x-admin-key': 'a-wrong-key', ...from('198.51.100.9') })
  pipeline.audit.error(undefined, undefined, new TypeError('the meter does not answer'))
  pipeline.audit.error(undefined, undefined, new TypeError('the meter does not answer'))
  pipeline.audit.error(undefined, undefined, new RangeError('too far'))
  pipeline.audit.system('LOSS_DECLARED')
}

const from = (ip: string) => ({ 'x-forwarded-for': ip })

async function send(path: string, body: object | undefined, headers: Record<string, string>): Promise<void> {
  const json = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }
  const type = body === undefined ? {} : { 'content-type': 'application/json' }
  const response = await fetch(central.url + path, { ...json, headers: { ...type, ...headers } })
  await response.arrayBuffer()
}

/** A command that has to end well; resolves with its output. */
async function command(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runHere(args, { environment: { EVC_DATA_DIR: central.folder.path } })
  const isMonitor = args[0] === 'monitor' // which exits with 1, as there is an incident
  assert.equal(code, isMonitor ? 1 : 0, `${args.join(' ')}: ${stderr}`)
  return stdout
}

function questions(): Question[] {
  const [, part = ''] = /\n## Questions\n([\s\S]*?)\n## /.exec(TEXT) ?? []
  return part
    .split(/^### /m)
    .slice(1)
    .map(section => {
      const lines = blocks(section, 'sh').flatMap(block => block.trim().split('\n'))
      const http = lines.filter(line => line.startsWith('curl '))
      const cli = lines.filter(line => line.startsWith('ev-central '))
      assert.equal(
        http.length + cli.length,
        lines.length,
        `a line is neither curl nor ev-central:\n${lines.join('\n')}`,
      )
      return { title: section.slice(0, section.indexOf('\n')), http, cli, sql: blocks(section, 'sql') }
    })
}

function blocks(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(
    found => found[1] as string,
  )
}

function ask(sql: string, file = central.folder.auditDatabase): SqlRow[] {
  const db = new DatabaseSync(file, { readOnly: true })
  try {
    return db.prepare(sql).all()
  } finally {
    db.close()
  }
}

/** Cuts off `| grep -F '...'`, which is done here. */
function piped(line: string): { line: string; keep: (output: string) => string } {
  const [, before = line, wanted] = /^(.*) \| grep -F '([^']+)'$/.exec(line) ?? []
  const keep = (output: string) => (wanted === undefined ? output : grep(output, wanted))
  return { line: before, keep }
}

function grep(output: string, wanted: string): string {
  return output
    .split('\n')
    .filter(line => line.includes(wanted))
    .join('\n')
}

async function curl(documented: string): Promise<string> {
  const { line, keep } = piped(documented)
  const target = /^curl -s "\$EVC(\/\S+)" -H "X-Admin-Key: \$ADMIN_KEY"$/.exec(line)?.[1]
  assert.ok(target !== undefined, `not of the documented form: ${line}`)
  const response = await fetch(central.url + target.replaceAll('$SINCE', SINCE), {
    headers: { 'x-admin-key': ADMIN_KEY },
  })
  const text = await response.text()
  assert.equal(response.status, 200, `${line}: ${text}`)
  return keep(text)
}

async function evCentral(documented: string): Promise<string> {
  const { line, keep } = piped(documented)
  return keep(await command(...line.split(' ').slice(1)))
}

/** Ids of the events in an answer, be it a page, episodes, lines of JSON or a table. */
function idsIn(answer: string): number[] {
  if (!answer.startsWith('{')) return [...answer.matchAll(/^(\d+)\s/gm)].map(found => Number(found[1]))
  const objects: Json[] = answer
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  return objects.flatMap(({ id, events, episodes }) => {
    if (events !== undefined) return events.map((event: { id: number }) => event.id)
    return episodes === undefined ? [id] : episodes.flatMap((episode: { event_ids: number[] }) => episode.event_ids)
  })
}

async function idsOf(lines: readonly string[], run: (line: string) => Promise<string>): Promise<number[]> {
  const found = await Promise.all(lines.map(async line => idsIn(await run(line))))
  found.forEach((ids, i) => {
    assert.ok(ids.length > 0, `found nothing: ${lines[i]}`)
  })
  return sorted(new Set(found.flat()))
}

const sorted = (ids: Iterable<number>) => [...ids].sort((a, b) => a - b)

/** All three doors find the same events, and so many. */
async function sameEvents({ http, cli, sql }: Question, count: number): Promise<void> {
  const ids = sorted(ask(sql[0] as string).map(row => Number(row.id)))
  assert.equal(ids.length, count)
  assert.deepEqual(await Promise.all([idsOf(http, curl), idsOf(cli, evCentral)]), [ids, ids])
}

const EXPECTED: Record<string, (question: Question) => Promise<void>> = {
  'Recent failed logins from an address': question => sameEvents(question, 6),
  'Recent failed logins of a charge point': question => sameEvents(question, 7),
  'Incidents of the last day': question => sameEvents(question, 2),
  'Everything of a request id': question => sameEvents(question, 2),
  'Key changes of a charge point': question => sameEvents(question, 2),
  'Status history of a charge point': question => sameEvents(question, 2),
  'What an admin did': question => sameEvents(question, 6),
  'Was anything lost': question => sameEvents(question, 1),

  async 'Errors by class'({ http, cli, sql }) {
    const rows = ask(sql[0] as string)
    assert.deepEqual(
      rows.map(row => [row.reason_code, row.errors]),
      [
        ['TypeError', 2],
        ['RangeError', 1],
      ],
    )
    for (const summary of [JSON.parse(await curl(http[0] as string)), JSON.parse(await evCentral(cli[0] as string))]) {
      assert.equal(summary.by_reason.TypeError, 2)
      assert.equal(summary.by_reason.RangeError, 1)
    }
    assert.equal(idsIn(await curl(http[1] as string)).length, 3)
    assert.equal(idsIn(await evCentral(cli[1] as string)).length, 3)
  },

  async 'Failed logins per hour'({ http, cli, sql }) {
    const rows = ask(sql[0] as string)
    const sum = (counts: number[]) => counts.reduce((total, count) => total + count, 0)
    assert.equal(sum(rows.map(row => Number(row.failures))), 9)
    assert.match(String(rows[0]?.hour), /^\d{4}-\d\d-\d\dT\d\d:00Z$/)
    const summary = JSON.parse(await curl(http[0] as string))
    assert.equal(summary.by_action.AUTH_FAIL, 9)
    assert.equal(summary.bucket_seconds, 3_600)
    assert.equal(sum(JSON.parse(await evCentral(cli[0] as string)).failures_by_minute), 9)
  },

  async 'Top attacking addresses'({ http, cli, sql }) {
    const rows = ask(sql[0] as string)
    const fields = rows.map(row => [row.ip, row.failures, row.charge_points])
    assert.deepEqual(fields, [
      ['203.0.113.7', 6, 1],
      ['198.51.100.9', 3, 2],
    ])
    for (const summary of [JSON.parse(await curl(http[0] as string)), JSON.parse(await evCentral(cli[0] as string))]) {
      const attacker = summary.top_addresses.find(({ ip }: { ip: string }) => ip === '203.0.113.7')
      assert.equal(attacker.failures, 6)
    }
  },

  /** Asking is on record too, so the later answers hold more. */
  async 'Who read the trail'({ http, cli, sql }) {
    const rows = ask(sql[0] as string)
    assert.ok(rows.some(row => row.who === 'alice' && row.reason_code === 'READ'))
    const ids = rows.map(row => Number(row.id))
    for (const found of await Promise.all([idsOf(http, curl), idsOf(cli, evCentral)])) {
      assert.ok(ids.every(id => found.includes(id)))
    }
  },

  async 'Are rows missing'({ sql }) {
    const [row] = ask(sql[0] as string)
    assert.equal(row?.missing, 0)
    assert.equal(row?.first_id, 1)
    assert.equal(row?.events, row?.last_id)
    assert.ok(Number(row?.events) > 20)
  },
}

test('quick reference: every question of the page is known here, and the other way round', () => {
  const documented = questions()
  assert.deepEqual(documented.map(({ title }) => title).sort(), Object.keys(EXPECTED).sort())
  for (const { title, sql } of documented) assert.equal(sql.length, 1, title)
})

for (const question of questions()) {
  test(`quick reference: ${question.title}`, () => EXPECTED[question.title]?.(question))
}

describe('quick reference: SQL over a trail in two segments', () => {
  /** The rows of the service behind a full segment of others, in segments and as the one table that is documented. */
  let segmented: string
  const single = new DatabaseSync(':memory:')

  before(async () => {
    const rows = ask('SELECT * FROM audit_events ORDER BY id') as unknown as StoredEvent[]
    segmented = join(folder, 'segmented.db')
    const store = createSqliteEventStore({ path: segmented, segmentIds: 1_024 })
    await store.append(batchOf(0, rowsFrom(0, 1_024)))
    const events = rows.map(({ id: _id, created_at: _at, ...event }) => ({ event, onceKey: null }))
    await store.append(batchOf(1_024, events))
    await store.close()
    single.exec(documentedSchema())
    const insert = single.prepare(`INSERT INTO audit_events VALUES (${COLUMNS.map(() => '?').join(', ')})`)
    for (const row of ask('SELECT * FROM audit_events', segmented))
      insert.run(...(Object.values(row) as SQLInputValue[]))
  })
  after(() => single.close())

  test('every line answers as over one table', () => {
    assert.equal(ask("SELECT name FROM sqlite_schema WHERE name = 'audit_events_2'", segmented).length, 1)
    for (const { title, sql } of questions()) {
      const expected = single.prepare(sql[0] as string).all()
      assert.ok(expected.length > 0, title)
      assert.deepEqual(ask(sql[0] as string, segmented), expected, title)
    }
  })

  test('a row that was deleted in between is missing; those that left at the beginning are not', () => {
    const sql = questions().find(({ title }) => title === 'Are rows missing')?.sql[0] as string
    const last = Number(single.prepare('SELECT max(id) AS id FROM audit_events').get()?.id)
    const answer = () => ({ ...ask(sql, segmented)[0] })
    assert.deepEqual(answer(), { events: last, first_id: 1, last_id: last, missing: 0 })
    change('DELETE FROM audit_events_1 WHERE id <= 1000')
    assert.deepEqual(answer(), { events: last - 1_000, first_id: 1_001, last_id: last, missing: 0 })
    change('DELETE FROM audit_events_2 WHERE id = 1030')
    assert.deepEqual(answer(), { events: last - 1_001, first_id: 1_001, last_id: last, missing: 1 })
  })

  test('newest first with a limit walks each segment from its end', () => {
    const plan = ask('EXPLAIN QUERY PLAN SELECT * FROM audit_events ORDER BY id DESC LIMIT 1', segmented)
    const steps = plan.map(({ detail }) => String(detail))
    assert.ok(steps.includes('MERGE (UNION ALL)'), steps.join('; '))
    assert.ok(!steps.some(step => step.includes('TEMP B-TREE')), steps.join('; '))
  })

  function change(sql: string): void {
    const db = new DatabaseSync(segmented)
    db.exec(sql)
    db.close()
  }
})

test('quick reference: the table of event types has them all, in their order', () => {
  const [, table = ''] = /\n## Event types\n([\s\S]*?)\nMetadata of incidents/.exec(TEXT) ?? []
  assert.deepEqual(
    [...table.matchAll(/^\| `([A-Z_]+)` +\|/gm)].map(found => found[1]),
    [...ACTIONS],
  )
})
