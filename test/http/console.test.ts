/** What the console needs of the door, without a browser. */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { builtConsole } from '../../scripts/console.ts'
import { LIMITS } from '../../src/limits.ts'
import { eventually, ONLY_SQLITE, problemOf, startTestCentral, type TestCentral } from './harness.ts'

let central: TestCentral
before(async () => {
  central = await startTestCentral()
})
after(() => central.close())

const KILOBYTES_MAX = 250

test('console: all of it together is small enough, compressed', async () => {
  const folder = await builtConsole()
  const names = (await readdir(folder, { recursive: true })).filter(name => name.endsWith('.br'))
  const sizes = await Promise.all(names.map(async name => (await readFile(join(folder, name))).length))
  const kilobytes = sizes.reduce((sum, size) => sum + size, 0) / 1000
  assert.ok(names.length > 3 && kilobytes <= KILOBYTES_MAX, `${kilobytes} kB`)
})

test('console: the page is asked for anew each time, under a policy; its parts never change', async () => {
  for (const path of ['/console', '/console/', '/console/events?who=CP-1']) {
    const { status, headers, text } = await central.send('GET', path)
    assert.equal(status, 200)
    assert.equal(headers.get('cache-control'), 'no-store')
    assert.equal(headers.get('x-content-type-options'), 'nosniff')
    const policy = headers.get('content-security-policy') ?? ''
    assert.match(policy, /default-src 'none'.*frame-ancestors 'none'/)
    assert.ok(!/unsafe|https?:|\*/.test(policy), policy)
    assert.ok(!/<script>|<style|style=|\son\w+=/.test(text))
    const [, script = ''] = /src="([^"]+\.js)"/.exec(text) ?? []
    const asset = await central.send('GET', script)
    assert.equal(asset.headers.get('cache-control'), 'public, max-age=31536000, immutable')
    assert.match(asset.headers.get('content-type') ?? '', /^text\/javascript/)
  }
  problemOf(await central.send('GET', '/console/assets/none.js'), 404, 'NOT_FOUND')
  const [above] = (
    await central.raw(['GET /console/assets/../../package.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'])
  ).split('\r\n')
  assert.equal(above, 'HTTP/1.1 404 Not Found')
})

test('console: parts come compressed as far as the client can read them', async () => {
  const { text } = await central.send('GET', '/console')
  const [, script = ''] = /src="([^"]+\.js)"/.exec(text) ?? []
  const encodingFor = async (accepted: string) =>
    (await fetch(central.url + script, { headers: { 'accept-encoding': accepted } })).headers.get('content-encoding')
  assert.equal(await encodingFor('gzip, deflate, br, zstd'), 'br')
  assert.equal(await encodingFor('br;q=0, gzip;q=0.5'), 'gzip')
  assert.equal(await encodingFor('identity'), null)
  const folder = await builtConsole()
  const name = script.replace('/console/', '')
  const plain = await readFile(join(folder, name))
  assert.deepEqual(brotliDecompressSync(await readFile(join(folder, `${name}.br`))), plain)
  assert.deepEqual(gunzipSync(await readFile(join(folder, `${name}.gz`))), plain)
})

async function attack(): Promise<{ ip: string; cpId: string }> {
  const ip = central.address()
  const { cpId } = await central.chargePoint()
  const body = { cp_id: cpId, credentials: 'not-the-right-credentials' }
  for (let n = 0; n < 5; n++) await central.send('POST', '/auth/credentials', { body, from: ip })
  await eventually(async () => (await episodeOf(ip)) !== undefined)
  return { ip, cpId }
}

async function episodeOf(ip: string) {
  const { body } = await central.send('GET', '/audit/incidents', { as: 'auditor' })
  return body.episodes.find((episode: { ip: string }) => episode.ip === ip)
}

test('incidents: acknowledged, noted, resolved; each on record with who, and open again when it goes on', async () => {
  const { ip, cpId } = await attack()
  const episode = await episodeOf(ip)
  assert.equal(episode.state, 'open')
  assert.deepEqual(episode.handling, [])
  const step = (name: string, body?: object) =>
    central.send('POST', `/audit/incidents/${episode.episode_id}/${name}`, {
      as: 'operator',
      ...(body === undefined ? {} : { body }),
    })
  const acknowledged = await step('acknowledge')
  assert.equal(acknowledged.status, 200)
  const [event] = await central.eventsOf(acknowledged.requestId)
  assert.equal(`${event?.action} ${event?.reason_code} ${event?.who}`, 'ACCESS ACKNOWLEDGED olga')
  assert.equal((await episodeOf(ip)).state, 'acknowledged')
  problemOf(await step('notes'), 422, 'VALIDATION_FAILED')
  await step('notes', { note: 'called the site' })
  await step('resolve', { note: 'a technician' })
  const resolved = await episodeOf(ip)
  assert.equal(resolved.state, 'resolved')
  assert.deepEqual(
    resolved.handling.map(({ who, step, note }: Record<string, string>) => [who, step, note]),
    [
      ['olga', 'ACKNOWLEDGED', null],
      ['olga', 'NOTED', 'called the site'],
      ['olga', 'RESOLVED', 'a technician'],
    ],
  )
  // The address is throttled by now, and throttled guesses go on being guesses.
  const body = { cp_id: cpId, credentials: 'not-the-right-credentials' }
  await eventually(async () => {
    await central.send('POST', '/auth/credentials', { body, from: ip })
    return (await episodeOf(ip)).event_ids.length > 1
  }, 60_000)
  assert.equal((await episodeOf(ip)).state, 'open')
})

test('incidents: one with more notes than the reader takes questions at a time is shown with all of them', async () => {
  const { ip } = await attack()
  const { episode_id } = await episodeOf(ip)
  const count = LIMITS.queriesWaitingMax + 20
  for (let n = 0; n < count; n++) {
    const body = { note: `note ${n}` }
    await central.send('POST', `/audit/incidents/${episode_id}/notes`, { as: 'operator', body })
  }
  await eventually(async () => (await episodeOf(ip))?.handling.length === count)
})

test('incidents: an auditor does nothing about one, and what is none is refused', async () => {
  problemOf(await central.send('POST', '/audit/incidents/1/acknowledge', { as: 'auditor' }), 403, 'FORBIDDEN')
  problemOf(await central.send('POST', '/audit/incidents/1/resolve', { as: 'admin' }), 404, 'EVENT_NOT_FOUND')
})

test('overview: failures by reason, who was attacked from where, what is open', async () => {
  const { ip, cpId } = await attack()
  let overview = (await central.send('GET', '/audit/overview', { as: 'auditor' })).body
  await eventually(async () => {
    overview = (await central.send('GET', '/audit/overview', { as: 'auditor' })).body
    return overview.attacking_addresses.some((found: { ip: string }) => found.ip === ip)
  })
  assert.ok(overview.attacked_charge_points.some((found: { cp_id: string }) => found.cp_id === cpId))
  assert.ok(overview.failed_logins.INVALID_CREDENTIALS >= 5)
  assert.ok(overview.incidents.by_state.open >= 1)
  assert.ok(overview.charge_points.ACTIVE >= 1)
  assert.equal(overview.events.per_minute.WARN.length, 1_440)
  const counted = Object.values(overview.events.per_minute as Record<string, number[]>).flat()
  assert.equal(
    counted.reduce((sum, n) => sum + n, 0),
    overview.events.total,
  )
})

test('overview: followed, it is one read of the trail however long it lasts, and tells what changes', async () => {
  const headers = { 'x-admin-key': central.keys.auditor, 'x-request-id': 'follow-1' }
  const response = await fetch(`${central.url}/audit/overview/stream`, { headers })
  const reader = (response.body ?? assert.fail()).pipeThrough(new TextDecoderStream()).getReader()
  const { ip } = await attack()
  for (let text = ''; !text.includes(ip); ) text += (await reader.read()).value ?? assert.fail('it ended')
  await reader.cancel()
  assert.equal((await central.eventsOf('follow-1')).length, 1)
})

test('verification: asked for, it judges the whole trail, and the verdict is on record', {
  skip: ONLY_SQLITE,
}, async () => {
  const started = await central.send('POST', '/evidence/verification', { as: 'auditor' })
  assert.equal(started.status, 202)
  assert.equal(started.body.phase, 'running')
  let verification = started.body
  await eventually(async () => {
    verification = (await central.send('GET', '/evidence/verification', { as: 'auditor' })).body
    return verification.phase === 'done'
  }, 60_000)
  assert.equal(verification.verdict, 'PRISTINE')
  assert.equal(verification.started_by, 'aldo')
  const events = await central.eventsOf(started.requestId)
  assert.deepEqual(
    events.map(({ reason_code, who }) => [reason_code, who]),
    [['VERIFY', 'aldo']],
  )
})

test('events: a page may begin at an id, in either direction', async () => {
  const { body } = await central.send('GET', '/audit/events?limit=10&order=asc', { as: 'auditor' })
  const ids = body.events.map(({ id }: { id: number }) => id)
  const [below, above] = await Promise.all(
    ['before_id=6&limit=3', 'after_id=3&limit=3'].map(query =>
      central.send('GET', `/audit/events?${query}`, { as: 'auditor' }),
    ),
  )
  assert.deepEqual(
    below?.body.events.map(({ id }: { id: number }) => id),
    ids.slice(2, 5).toReversed(),
  )
  assert.deepEqual(
    above?.body.events.map(({ id }: { id: number }) => id),
    ids.slice(3, 6),
  )
  const bad = ['before_id=6&after_id=3', 'before_id=6&order=asc', 'before_id=6&cursor=AAAAAAAA', 'before_id=x']
  for (const query of bad) {
    problemOf(await central.send('GET', `/audit/events?${query}`, { as: 'auditor' }), 422, 'VALIDATION_FAILED')
  }
})

test('charge points: found by how their id begins', async () => {
  for (const cp_id of ['PRE-1', 'PRE-2', 'PREX']) {
    await central.send('POST', '/charge-points', { as: 'operator', body: { cp_id } })
  }
  const first = await central.send('GET', '/security/status?cp_id_prefix=PRE-&limit=1', { as: 'auditor' })
  const { next_cursor } = first.body
  const second = await central.send('GET', `/security/status?cp_id_prefix=PRE-&limit=5&cursor=${next_cursor}`, {
    as: 'auditor',
  })
  assert.deepEqual(
    [...first.body.charge_points, ...second.body.charge_points].map(({ cp_id }: { cp_id: string }) => cp_id),
    ['PRE-1', 'PRE-2'],
  )
  assert.equal(second.body.next_cursor, null)
})

test('overview: when figures cannot be had it keeps those of before, and still says how the service is', async () => {
  const overview = async () => (await central.send('GET', '/audit/overview', { as: 'auditor' })).body
  assert.ok((await overview()).charge_points)
  await central.breakSecurityState() // the charge points cannot be counted any more: for good, so no test comes after this one
  const before = await overview()
  await eventually(async () => {
    const now = await overview()
    assert.equal(now.at, before.at)
    return now.last_event_id > before.last_event_id
  })
})
