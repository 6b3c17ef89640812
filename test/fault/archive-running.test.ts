/** Archiving beside a running service, from the command line and by the service itself: its readers go on answering right. */
import assert from 'node:assert/strict'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StoredEvent } from '../../src/event/event.ts'
import { checkStore } from '../../src/store/check-store.ts'
import { run, temporaryFolder } from '../cli/command-line.ts'
import { archiveFolder, pathsOf, SEGMENT, writeOldTrail } from '../harness/old-trail.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { send, startServiceProcess } from '../harness/service-process.ts'

const GONE = SEGMENT * 6

test('archive from the command line beside a service: cursors, counts, exports and logins go on, and the file shrinks', async t => {
  const data = join(temporaryFolder(t), 'data')
  const rows = await writeOldTrail(data, GONE + 500)
  const service = await startServiceProcess(data)
  t.after(() => service.kill('SIGKILL'))
  const get = async (path: string) => (await send(service.url, 'GET', path)).body
  const page = async (query: string) =>
    (await get(`/audit/events?${query}`)) as unknown as { events: StoredEvent[]; next_cursor: string | null }
  const registered = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-7' })
  const { database } = { database: pathsOf(data).store.path }
  const bytesBefore = statSync(database).size

  const forward = await page('order=asc&limit=100')
  const backward = await page(`order=desc&limit=100&end_time=${rows[GONE + 50]?.date_time}`)
  assert.equal(backward.events.at(-1)?.id, GONE - 49)
  const exporting = fetch(`${service.url}/audit/export?format=ndjson&end_time=${rows[GONE]?.date_time}`, {
    headers: { 'x-admin-key': 'test-admin-key-0123456789abcdef0123456789' },
  }).then(answer => answer.text())
  let isArchiving = true
  const logins = (async () => {
    const statuses: number[] = []
    while (isArchiving) {
      const body = { cp_id: 'CP-7', credentials: registered.body.credentials }
      statuses.push((await send(service.url, 'POST', '/auth/credentials', body, {})).status)
    }
    return statuses
  })()
  const archived = await run(t, ['archive', '--before', '2026-05-01', '--data-dir', data])
  isArchiving = false
  assert.deepEqual([archived.code, archived.stderr], [0, ''])
  assert.match(archived.stdout, /^archive 6: events 10241 to 12288, /m)
  const statuses = await logins
  assert.deepEqual(
    statuses.filter(status => status !== 200),
    [],
    'no login was refused or failed',
  )

  const next = await page(`order=asc&limit=100&cursor=${forward.next_cursor}`)
  assert.equal(next.events[0]?.id, GONE + 1, 'goes on behind what left')
  assert.deepEqual(
    await page(`order=desc&limit=100&end_time=${rows[GONE + 50]?.date_time}&cursor=${backward.next_cursor}`),
    {
      events: [],
      next_cursor: null,
    },
  )
  for (const id of [1, GONE]) assert.equal((await send(service.url, 'GET', `/audit/events/${id}`)).status, 404)
  assert.equal((await send(service.url, 'GET', `/audit/events/${GONE + 1}`)).status, 200)
  const summary = await get(`/audit/summary?start_time=2026-01-01T00:00:00Z&end_time=2026-02-01T00:00:00Z`)
  assert.equal(summary.total, 500)
  const found = await page(`order=asc&limit=1000&reason_code=ARCHIVED`)
  assert.deepEqual(
    found.events.map(({ metadata_json }) => JSON.parse(metadata_json ?? '').archive),
    [1, 2, 3, 4, 5, 6],
  )

  const exported = (await exporting)
    .trimEnd()
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line).id)
  assert.deepEqual(
    exported,
    exported.toSorted((a, b) => a - b),
    'an export that was on its way has no event twice',
  )
  const bytes = await eventually(
    () => statSync(database).size,
    size => size < bytesBefore / 3,
  )
  t.diagnostic(`${statuses.length} logins meanwhile; audit.db: ${bytesBefore} bytes, then ${bytes}`)
  assert.equal(await service.kill('SIGTERM'), 0)
  assert.deepEqual(checkStore(database), [])
  const ids = auditRows(data).map(({ id }) => id)
  assert.deepEqual(
    ids,
    Array.from({ length: ids.length }, (_, n) => GONE + 1 + n),
    'the ids go on without a gap',
  )
})

test('archive by the service: with EVC_RETENTION_DAYS it archives at its start, stopped at any moment or not', async t => {
  const data = join(temporaryFolder(t), 'data')
  await writeOldTrail(data, GONE + 10)
  for (const ms of [0, 60, 150, 400]) {
    const service = await startServiceProcess(data, { EVC_RETENTION_DAYS: '30' })
    t.after(() => service.kill('SIGKILL'))
    await sleep(ms)
    assert.equal(await service.kill('SIGTERM'), 0, service.output())
  }
  const service = await startServiceProcess(data, { EVC_RETENTION_DAYS: '30' })
  t.after(() => service.kill('SIGKILL'))
  const events = await eventually(
    () => auditRows(data, "reason_code = 'ARCHIVED'"),
    rows => rows.length === 6,
  )
  assert.ok(events.every(({ metadata_json }) => metadata_json?.includes('"actor":"system"')))
  assert.equal(await service.kill('SIGTERM'), 0)
  assert.equal(readdirSync(archiveFolder(data)).filter(name => name.endsWith('.manifest.json')).length, 6)
  const verified = await run(t, ['archive', 'verify', '--data-dir', data])
  assert.equal(verified.code, 0, verified.stdout + verified.stderr)
  assert.deepEqual(checkStore(pathsOf(data).store.path), [])
})
