/** The wall clock of a running service is set back by an hour and forward by ten years: order and windows stay, and it is on record. */
import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { pathToFileURL } from 'node:url'
import type { StoredEvent } from '../../src/event/event.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { send, startServiceProcess } from '../harness/service-process.ts'

const HOUR_MS = 3_600_000
const TEN_YEARS_MS = 10 * 365 * 24 * HOUR_MS

for (const [name, jumpMs] of [
  ['back by an hour', -HOUR_MS],
  ['forward by ten years', TEN_YEARS_MS],
] as const) {
  test(`service: a clock set ${name} breaks neither order nor windows, and is on record`, async t => {
    const folder = mkdtempSync(join(tmpdir(), 'evc-clock-'))
    t.after(() => rmSync(folder, { recursive: true, force: true }))
    const dataDir = join(folder, 'data')
    const clockFile = join(folder, 'clock')
    const setClock = (ms: number) => {
      writeFileSync(`${clockFile}.new`, String(ms))
      renameSync(`${clockFile}.new`, clockFile)
    }
    const start = () =>
      startServiceProcess(dataDir, {
        NODE_OPTIONS: `--import ${pathToFileURL(join(import.meta.dirname, '..', 'harness', 'shifted-clock.ts'))}`,
        TEST_CLOCK_FILE: clockFile,
        EVC_BRUTE_FORCE_THRESHOLD: '5',
      })
    setClock(0)
    const service = await start()
    t.after(() => service.kill('SIGKILL'))
    const { body: registered } = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-1' })
    const login = { cp_id: 'CP-1', credentials: registered.credentials }
    const attempt = async (url: string, requestId: string, body: object) =>
      (await send(url, 'POST', '/auth/credentials', body, { 'x-request-id': requestId })).status
    const wrong = { cp_id: 'CP-1', credentials: '0'.repeat(64) }

    for (let i = 0; i < 3; i++) assert.equal(await attempt(service.url, `before-${i}`, wrong), 401)
    setClock(jumpMs)
    const [jumped] = await eventually(
      () => auditRows(dataDir, "reason_code = 'CLOCK_JUMPED'"),
      rows => rows.length === 1,
    )
    assert.equal(jumped?.severity, 'WARN')
    const metadata = JSON.parse(jumped?.metadata_json ?? '{}')
    assert.ok(Math.abs(metadata.jump_seconds - jumpMs / 1000) < 5, jumped?.metadata_json ?? '')
    assert.ok(Math.abs(Date.parse(metadata.found_time) - Date.parse(metadata.expected_time) - jumpMs) < 5_000)

    // Five failures in all, over the jump: one incident; the sixth has to wait seconds, not an hour and not nothing.
    for (let i = 3; i < 5; i++) assert.equal(await attempt(service.url, `after-${i}`, wrong), 401)
    const held = await fetch(`${service.url}/auth/credentials`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(wrong),
    })
    assert.equal(held.status, 429)
    assert.ok(Number(held.headers.get('retry-after')) <= 4, String(held.headers.get('retry-after')))
    assert.equal(await attempt(service.url, 'right', login), 200)
    const incidents = () => auditRows(dataDir, "reason_code = 'BRUTE_FORCE_SUSPECTED'")
    await eventually(incidents, rows => rows.length > 0)

    setClock(0)
    await eventually(
      () => auditRows(dataDir, "reason_code = 'CLOCK_JUMPED'"),
      rows => rows.length === 2,
    )
    assert.equal(await attempt(service.url, 'again', login), 200)

    const answer = await eventually(
      () => send(service.url, 'GET', '/audit/events?who=CP-1&order=asc&limit=100'),
      ({ body }) => (body.events as StoredEvent[]).some(event => event.request_id === 'again'),
    )
    const found = answer.body.events as StoredEvent[]
    const ids = found.map(event => event.id)
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => a - b),
    )
    assert.deepEqual(
      found.map(event => event.request_id).filter(id => /^(before|after|right|again)/.test(id ?? '')),
      ['before-0', 'before-1', 'before-2', 'after-3', 'after-4', 'after-4', 'right', 'again'],
      'in the order of recording; the fifth failure and its incident are of one request',
    )
    // A range of time finds what is dated in it, wherever that stands in the order.
    const around = (ms: number) => new Date(Date.now() + ms).toISOString()
    const range = `start_time=${around(jumpMs - 60_000)}&end_time=${around(jumpMs + 60_000)}`
    const dated = await send(service.url, 'GET', `/audit/events?who=CP-1&order=asc&${range}`)
    assert.deepEqual(
      (dated.body.events as StoredEvent[])
        .map(event => event.request_id)
        .filter(id => id?.includes('-') === true || id === 'right'),
      found
        .slice(ids.length - 6)
        .map(event => event.request_id)
        .filter(id => id !== 'again'),
    )
    assert.equal(incidents().length, 1)
    await service.kill('SIGKILL')

    // A restart with the clock where it was: what was dated elsewhere counts, and the incident is not reported again.
    const next = await start()
    t.after(() => next.kill('SIGKILL'))
    const { body: status } = await send(next.url, 'GET', '/security/status/CP-1')
    assert.equal(status.failures_in_window, 6)
    await attempt(next.url, 'next', wrong)
    await eventually(
      () => auditRows(dataDir, "request_id = 'next'"),
      rows => rows.length > 0,
    )
    assert.equal(incidents().length, 1)
    assert.equal(await next.kill('SIGTERM'), 0)
  })
}
