/** Older copies put in the place of what was there: each is noticed, none silently gone on from. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { type Central, startCentral } from '../../src/service/central.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { readDataPosition } from '../../src/service/data-position.ts'
import { readSettings } from '../../src/settings/settings.ts'
import { runHere, temporaryFolder } from '../cli/command-line.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { ADMIN_KEY, send, startServiceProcess } from '../harness/service-process.ts'

test('older audit.db: what the journal still has becomes the same rows again', async t => {
  const place = await twoStates(t)
  place.bringBack('audit')
  const rows = await place.servedRows()
  place.assertSame(rows, { through: place.rowsAfter.length })
  assert.equal(rows.filter(row => row.reason_code === 'ROLLED_BACK').length, 0)
})

test('older audit.db, and the journal was trimmed: not ready; --accept declares the loss, and it goes on', async t => {
  const place = await twoStates(t, { trimmed: true })
  place.bringBack('audit')
  const central = await place.start()
  const { body } = await eventually(
    () => send(central.url, 'GET', '/ready'),
    answer => answer.status === 503,
  )
  assert.match(JSON.stringify(body), /record \d+ is in no segment of the journal/)
  await central.stop()

  const accepted = await place.cli('restore', '--accept')
  assert.equal(accepted.code, 0, accepted.stderr)
  assert.match(accepted.stdout, /^declared lost: \d+ journal records$/m)
  assert.equal((await place.cli('restore', '--accept')).stdout, 'nothing is missing, nothing was changed\n')
  const rows = await place.servedRows()
  const [loss, ...others] = rows.filter(row => row.reason_code === 'LOSS_DECLARED')
  assert.deepEqual(others, [])
  const { first_sequence, last_sequence, count } = JSON.parse(loss?.metadata_json ?? '{}')
  assert.deepEqual([first_sequence, count], [place.rowsBefore.length + 1, last_sequence - first_sequence + 1])
  place.assertSame(rows, { through: place.rowsBefore.length })
})

test('older journal with the newer audit.db: refused, also when it is the whole of what was noted', async t => {
  const place = await twoStates(t)
  place.bringBack('journal')
  await assert.rejects(place.start(), { name: 'Refusal', code: 'JOURNAL_BEHIND' })
})

test('older audit.db and journal together: on record, once, and nothing is given twice', async t => {
  const place = await twoStates(t)
  place.bringBack('audit')
  place.bringBack('journal')
  const rows = await place.servedRows()
  const [event, ...others] = rows.filter(row => row.reason_code === 'ROLLED_BACK')
  assert.deepEqual([event?.severity, others.length], ['CRITICAL', 0])
  assert.match(event?.description ?? '', /\d+ of \d+ journal records are missing, \d+ of \d+ events are missing$/)
  place.assertSame(rows, { through: place.rowsBefore.length })
  const again = await place.servedRows()
  assert.equal(again.filter(row => row.reason_code === 'ROLLED_BACK').length, 1, 'not at every start')
})

test('older security.db alone: on record, and what it delivers again is no row twice', async t => {
  const place = await twoStates(t)
  place.bringBack('security')
  const rows = await place.servedRows()
  const [event, ...others] = rows.filter(row => row.reason_code === 'ROLLED_BACK')
  assert.equal(others.length, 0)
  assert.match(event?.description ?? '', /: 1 of \d+ changes of the security state are missing$/)
  place.assertSame(rows, { through: place.rowsAfter.length })
  const registered = rows.filter(row => row.reason_code === 'CP_REGISTERED').map(row => row.description)
  assert.deepEqual(registered, ['CP CP-1 registered', 'CP CP-2 registered'])
})

test('the whole folder replaced by an older one: refused by the position noted outside, until that is accepted', async t => {
  const position = join(temporaryFolder(t), 'position.json')
  const place = await twoStates(t, { environment: { EVC_POSITION_FILE: position } })
  place.bringBack()
  const untouched = readDataPosition(dataFolder(place.data))
  const refused =
    /^.* is older than .*position\.json says: 3 of \d+ journal records are missing, 3 of \d+ events are missing, 1 of \d+ changes/
  for (const attempt of [1, 2]) {
    await assert.rejects(
      place.start(),
      { name: 'Refusal', code: 'ROLLED_BACK', message: refused },
      `attempt ${attempt}`,
    )
  }
  assert.deepEqual(readDataPosition(dataFolder(place.data)), untouched)

  const accepted = await place.cli('restore', '--accept')
  assert.equal(accepted.code, 0, accepted.stderr)
  assert.match(accepted.stdout, /^accepted: 3 of \d+ journal records are missing$/m)
  const rows = await place.servedRows()
  const events = rows.filter(row => row.reason_code === 'ROLLED_BACK')
  assert.equal(events.length, 1)
  assert.match(events[0]?.metadata_json ?? '', /"actor":"cli:/)
  assert.equal(rows.filter(row => row.reason_code === 'UNCLEAN_STOP').length, 0)
  await place.servedRows()
})

test('a documented restore with a position noted outside: refused with what is missing, until that is accepted', async t => {
  const path = temporaryFolder(t)
  const position = join(path, 'position.json')
  const backup = join(path, 'backup')
  const environment = { EVC_POSITION_FILE: position }
  const place = await twoStates(t, {
    environment,
    between: async data => {
      const made = await runHere(['backup', backup, '--with-secrets'], { environment: { EVC_DATA_DIR: data } })
      assert.equal(made.code, 0, made.stderr)
    },
  })
  rmSync(place.data, { recursive: true })
  assert.equal((await place.cli('restore', backup, '--to', place.data)).code, 0)
  await assert.rejects(place.start(), { name: 'Refusal', code: 'ROLLED_BACK' })
  assert.equal((await place.cli('restore', '--accept')).code, 0)
  const rows = await place.servedRows()
  assert.deepEqual(
    rows.slice(-4).map(row => row.reason_code),
    ['RESTORED', 'ROLLED_BACK', 'STARTED', 'STOPPED'],
  )
})

test('position file: killed at any moment, the service is never taken for older than it was', async t => {
  const path = temporaryFolder(t)
  const position = join(path, 'outside', 'position.json')
  mkdirSync(join(path, 'outside'))
  const data = join(path, 'data')
  for (let round = 0; round < 3; round++) {
    const service = await startServiceProcess(data, { EVC_POSITION_FILE: position })
    t.after(() => service.kill('SIGKILL'))
    const ending = sleep(round * 450).then(() => service.kill('SIGKILL')) // notes are two seconds apart
    for (let n = 0; service.child.exitCode === null && service.child.signalCode === null; n++) {
      await send(service.url, 'POST', '/charge-points', { cp_id: `CP-${round}-${n}` }).catch(() => {})
    }
    await ending
  }
  const noted = JSON.parse(readFileSync(position, 'utf8'))
  assert.ok(noted.sequence > 0 && noted.state_changes > 0 && noted.last_event_id > 0, JSON.stringify(noted))
  const last = await startServiceProcess(data, { EVC_POSITION_FILE: position })
  assert.equal(await last.kill('SIGTERM'), 0)
  const rows = auditRows(data)
  const ended = JSON.parse(readFileSync(position, 'utf8'))
  assert.deepEqual([ended.last_event_id, rows.at(-1)?.reason_code], [rows.length, 'STOPPED'], 'noted at the stop too')
  assert.equal(rows.filter(row => row.reason_code === 'ROLLED_BACK').length, 0)
})

test('position file: in the data folder, not writable or of something else, it is refused', async t => {
  const path = temporaryFolder(t)
  const data = join(path, 'data')
  const start = (EVC_POSITION_FILE: string) => startOn(t, data, { EVC_POSITION_FILE })
  await assert.rejects(start(join(data, 'position.json')), { name: 'SettingsError', message: /in the data folder/ })
  await assert.rejects(start(join(path, 'nowhere', 'p')), { name: 'SettingsError', message: /cannot be written/ })
  for (const content of ['', '{}', '{"format":"ev-central-position"}\n']) {
    writeFileSync(join(path, 'p'), content)
    await assert.rejects(start(join(path, 'p')), { name: 'SettingsError', message: /does not hold a position/ })
  }
})

type Part = 'audit' | 'journal' | 'security'

/** Once for all tests: CP-1 registered, and then CP-2 too, both after a clean stop. */
const states = mkdtempSync(join(tmpdir(), 'evc-older-'))
const [WITH_ONE, WITH_BOTH] = [join(states, 'one'), join(states, 'both')]
before(async () => {
  await visit(WITH_ONE, 'CP-1', {})
  cpSync(WITH_ONE, WITH_BOTH, { recursive: true })
  await visit(WITH_BOTH, 'CP-2', {})
})
after(() => rmSync(states, { recursive: true }))

async function visit(data: string, cpId: string, environment: Record<string, string>): Promise<void> {
  const central = await serve(data, environment)
  const { status } = await send(central.url, 'POST', '/charge-points', { cp_id: cpId })
  await central.stop()
  assert.equal(status, 201)
}

/** A data folder as it was (CP-1 registered) and as it is (CP-2 too). */
async function twoStates(
  t: TestContext,
  options: { environment?: Record<string, string>; trimmed?: boolean; between?: (data: string) => Promise<void> } = {},
) {
  const data = join(temporaryFolder(t), 'data')
  const environment = options.environment ?? {}
  const start = () => startOn(t, data, environment)
  if (options.environment === undefined) cpSync(WITH_BOTH, data, { recursive: true })
  else {
    cpSync(WITH_ONE, data, { recursive: true })
    await options.between?.(data)
    await visit(data, 'CP-2', environment)
  }
  const rowsBefore = auditRows(WITH_ONE)
  if (options.trimmed === true) {
    const isTrimmed = () => (readDataPosition(dataFolder(data)).journal?.firstSequence ?? 0) > rowsBefore.length + 1
    for (let starts = 0; !isTrimmed(); starts++) {
      assert.ok(starts < 5, 'the journal was not trimmed')
      await (await start()).stop()
    }
  }
  const rowsAfter = auditRows(data)

  return {
    data,
    rowsBefore,
    rowsAfter,
    start,
    cli: (...args: string[]) => runHere(args, { environment: { EVC_DATA_DIR: data, ...environment } }),
    /** A part, or the whole folder, as it was. */
    bringBack(part?: Part) {
      rmSync(join(data, part ?? ''), { recursive: true })
      cpSync(join(WITH_ONE, part ?? ''), join(data, part ?? ''), { recursive: true })
    },
    /** The rows after a start and a clean stop. */
    async servedRows() {
      await (await start()).stop()
      const rows = auditRows(data)
      assert.deepEqual(
        rows.map(row => row.id),
        rows.map((_, index) => index + 1),
        'ids are gapless',
      )
      return rows
    },
    assertSame(rows: typeof rowsAfter, { through }: { through: number }) {
      const contents = (all: typeof rows) => all.slice(0, through).map(row => ({ ...row, created_at: '' }))
      assert.deepEqual(contents(rows), contents(rowsAfter))
    },
  }
}

function serve(data: string, environment: Record<string, string>): Promise<Central> {
  const settings = readSettings({ EVC_PORT: '0', EVC_DATA_DIR: data, EVC_ADMIN_KEY: ADMIN_KEY, ...environment })
  return startCentral(settings, pino({ level: 'silent' }))
}

async function startOn(t: TestContext, data: string, environment: Record<string, string>): Promise<Central> {
  const central = await serve(data, environment)
  t.after(() => central.stop())
  return central
}
