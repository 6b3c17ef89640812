/** What the console shows live, in a real browser over the real service: nothing that arrives is missed, whatever the connection does. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import type { Page, Route } from 'playwright-core'
import { formatVerifierKey } from '../../src/evidence/note.ts'
import { importDay } from '../harness/day-of-events.ts'
import { eventually, startTestCentral } from '../http/harness.ts'
import { serve, temporaryFolder } from '../unit/witness/witness-under-test.ts'
import { noBrowserHere } from './browser.ts'
import { type ConsoleUnderTest, idsFromTop, scrollTo, signIn, startConsole } from './console-page.ts'

/** More than the list of events has pixels for. */
const OLD_EVENTS = 13_000
const ROW_PIXELS = 30

describe('the console, live', { skip: noBrowserHere }, () => {
  let desk: ConsoleUnderTest
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-console-'))
  before(async () => {
    await importDay(dataDir, Date.now() - 30 * 86_400_000, OLD_EVENTS) // too old for what the overview counts
    desk = await startConsole({ EVC_DATA_DIR: dataDir })
  })
  afterEach(() => desk.leave())
  after(async () => {
    await desk?.[Symbol.asyncDispose]()
    rmSync(dataDir, { recursive: true })
  })

  test('console: the overview shows an attack within seconds, and leads to its events', async () => {
    const { page, seen } = await desk.visit('/')
    const { ip, cpId } = await desk.attack()
    await page.locator('.bars', { hasText: ip }).waitFor()
    await page
      .getByRole('status')
      .getByText(/open incident/)
      .waitFor()
    assert.equal(await page.locator('.figures .figure:not(a), .legend .key:not(a)').count(), 0)
    const warnings = await page.locator('.legend').getByRole('link', { name: 'Warn' }).getAttribute('href')
    assert.match(warnings ?? '', /events\?severity=WARN&start_time=/)
    await page.locator('.bars', { hasText: cpId }).getByRole('link', { name: cpId }).click()
    await page.locator('.grid .row', { hasText: ip }).first().waitFor()
    assert.match(page.url(), new RegExp(`who=${cpId}`))

    await page.goBack()
    await page.locator('.plot').hover()
    await page.locator('.pointed', { hasText: /^\d{4}-\d\d-\d\d \d\d:\d\d UTC, .+ here: / }).waitFor()
    // What a click into the chart leads to, by keys.
    await page.locator('.hours summary').focus()
    await page.keyboard.press('Enter')
    await page.keyboard.press('Tab')
    assert.match(String(await page.evaluate('document.activeElement.href')), /events\?start_time=.*&end_time=/)
    const warned = page.locator('.hours tbody tr').first().getByRole('link').nth(-2)
    assert.match((await warned.getAttribute('href')) ?? '', /events\?severity=WARN&start_time=.*&end_time=/)
    desk.assertQuiet(seen)
  })

  test('console: 200 events a second arrive; pausing and going on misses none', async () => {
    const { page, seen } = await desk.visit('/events')
    await page.locator('[data-arrived]').waitFor()
    await page.locator('.grid .row').first().waitFor()
    const firstId = (await desk.newest('')).id
    const seconds = 4
    const sent: Promise<unknown>[] = []
    const started = performance.now()
    for (let n = 0; n < seconds * 200; n++) {
      await eventually(() => performance.now() - started >= n * 5)
      sent.push(desk.central.send('GET', '/audit/events/1', { as: 'auditor' }))
      if (n === 200) await page.getByRole('button', { name: 'Pause' }).click()
      if (n === 600) await page.getByRole('button', { name: /new event/ }).click()
    }
    await Promise.all(sent)
    const lastId = (await desk.newest('action=ACCESS')).id - 1 // `newest` is a read as well, on record behind what it saw
    assert.ok(lastId - firstId >= seconds * 200)
    await page.locator(`#event-${lastId}`).waitFor()
    const ids = await idsFromTop(page, lastId - firstId)
    assert.deepEqual(
      ids.filter(id => id > firstId && id <= lastId),
      Array.from({ length: lastId - firstId }, (_, n) => lastId - n),
    )
    desk.assertQuiet(seen)
  })

  test('console: what one reads stays where it is while events arrive, and pages follow each other', async () => {
    const { page, seen } = await desk.visit('/events')
    const grid = page.locator('.grid')
    await grid.locator('.row').first().waitFor()
    await scrollTo(page, 3000)
    const id = await page.locator('.grid .row[id][aria-rowindex="112"]').getAttribute('id')
    const before = (await page.locator(`#${id}`).boundingBox())?.y
    for (let n = 0; n < 50; n++) await desk.central.send('GET', '/audit/events/1', { as: 'auditor' })
    const news = page.getByRole('button', { name: /\d+ new events/ })
    await news.waitFor()
    assert.equal((await page.locator(`#${id}`).boundingBox())?.y, before)
    const ids = await idsFromTop(page, 700)
    assert.deepEqual(
      ids,
      ids.map((_, n) => (ids[0] as number) - n),
    )
    assert.ok(ids.length > 600)
    desk.assertQuiet(seen)
  })

  test('console: a list that is longer than its pixels is scrolled, and moved through by keys, as if it had them', async () => {
    const { page, seen } = await desk.browser.newPage()
    const start = (await desk.newest('')).id - 11_000
    // The page began so long ago; what is older it asks for when it is scrolled to.
    const rewrite = (parameters: string) => (route: Route) =>
      route.continue({ url: route.request().url() + parameters })
    // Once: a stream that had to be opened again says itself where to go on.
    await page.route('**/audit/stream*', rewrite(`?last_event_id=${start}`), { times: 1 })
    await page.route('**/audit/events?*', rewrite(`&before_id=${start + 1}`), { times: 1 })
    await signIn(page, desk.central.url, desk.central.keys.auditor, '/events')
    await page.locator('.grid .row[id]').first().waitFor()
    const newest = `Number(document.querySelector('.grid .row[id]').id.slice(6))`
    await eventually(async () => Number(await page.evaluate(newest)) >= start + 11_000)

    const glide = async (toRow: number) => (await page.evaluate(`(${GLIDE})(${toRow})`)) as Glided
    const selected = async () => Number(await page.locator('.row.selected').getAttribute('aria-rowindex')) - 2
    await page.locator('.grid').focus()
    await scrollTo(page, 6_900 * ROW_PIXELS)
    const began = await glide(7_000)
    await page.keyboard.press('j')
    const chosen = await selected()
    assert.ok(Math.abs(chosen - 7_000) < 30, `row ${chosen}`)
    const passed = await glide(8_500)
    assert.notEqual(passed.bases.at(-1), passed.bases[0])
    const active = () => page.locator('.grid').getAttribute('aria-activedescendant')
    assert.equal(await active(), null, 'the selected row is not in the page any more')
    await page.keyboard.press('j')
    await page.locator('.row.selected').waitFor()
    assert.equal(await selected(), chosen + 1)
    assert.equal(await active(), await page.locator('.row.selected').getAttribute('id'))

    const down = await glide(12_800)
    assert.ok(down.rows < 12_800, 'the list has pixels for all of its rows')
    const up = await glide(6_000)
    assert.deepEqual(
      [began, passed, down, up].map(({ faults }) => faults),
      [[], [], [], []],
    )
    assert.ok(new Set([...down.bases, ...up.bases]).size >= 4)
    await page.keyboard.press('Home')
    await page.locator('.grid .row.selected[aria-rowindex="2"]').waitFor()
    assert.equal(await page.evaluate(`document.querySelector('.grid').scrollTop`), 0)
    await desk.failLogin((await desk.central.chargePoint()).cpId)
    const { id } = await desk.newest('action=AUTH_FAIL')
    await page.locator(`#event-${id}`).waitFor()
    const ids = await idsFromTop(page, 100)
    assert.deepEqual(
      ids,
      ids.map((_, n) => (ids[0] as number) - n),
    )
    desk.assertQuiet(seen)
  })

  test('console: after a restart of the service it goes on by itself, from where it was', async () => {
    const { page, seen } = await desk.visit('/events')
    await page.locator('.grid .row').first().waitFor()
    await desk.central.stop()
    await page.getByText('Disconnected.').waitFor()
    await page.getByRole('button', { name: /^Signed in as/ }).click()
    await page.getByRole('menuitem', { name: 'Sign out', exact: true }).click()
    await page.getByText('Still signed in.').waitFor()
    await desk.central.start()
    await page.locator('[data-connection=open]').waitFor({ timeout: 60_000 })
    await page.locator('.banner', { hasText: 'Disconnected' }).waitFor({ state: 'detached' })
    const { cpId } = await desk.central.chargePoint()
    await desk.central.send('POST', '/auth/credentials', {
      body: { cp_id: cpId, credentials: 'not-the-right-credentials' },
    })
    await page.locator('.grid .row', { hasText: cpId }).first().waitFor()
    const ids = await idsFromTop(page, 60)
    assert.deepEqual(
      ids,
      ids.map((_, n) => (ids[0] as number) - n),
    )
    assert.deepEqual([seen.exceptions, seen.violations], [[], []])
  })

  test('console: an attack that is longer than its list still shows each escalation, and does not say who else was in it', async () => {
    const { ip, cpId } = await desk.attack()
    for (let n = 0; n < 15; n++) await desk.failLogin(`${cpId}-${n}`, ip)
    const { page } = await desk.browser.newPage()
    await page.route('**/audit/events?*limit=1000', (route: Route) =>
      route.continue({ url: route.request().url().replace('limit=1000', 'limit=7') }),
    )
    await signIn(page, desk.central.url, desk.central.keys.auditor, '/incidents')
    await page.locator('tr', { hasText: ip }).getByRole('button').click()
    const detail = page.getByRole('complementary')
    await detail.getByText('More events than can be listed').waitFor()
    assert.deepEqual(
      (await detail.locator('.escalation b').allInnerTexts()).map(text => text.replace(/\D+/g, '')),
      ['5', '10', '20'],
    )
    await detail.getByText(/at least 16 charge points: /).waitFor()
    await page.goto(`${desk.central.url}/console/incidents?incident=999999`)
    await detail.getByText('Not among the newest').waitFor()
  })

  test('console: figures that do not come are not waited for in silence', async () => {
    const { page, seen } = await desk.browser.newPage()
    await page.clock.install()
    await page.route('**/audit/overview/stream', () => {}) // never answered, as by a store that cannot be read
    await signIn(page, desk.central.url, desk.central.keys.auditor)
    await page.getByText('Loading the last 24 hours').waitFor()
    await page.clock.fastForward(6_000)
    const checks = page.getByRole('link', { name: 'the checks of the service' })
    assert.equal((await desk.central.send('GET', (await checks.getAttribute('href')) ?? '')).status, 200)
    desk.assertQuiet(seen)
  })

  test('console: a window that nobody sees lets go of its streams, and catches up without loss when it is seen', async () => {
    const { cpId } = await desk.central.chargePoint()
    await eventually(async () => (await streams()) === 0) // those of the page before
    const { page, seen } = await desk.browser.newPage()
    await page.clock.install()
    await page.addInitScript(
      `Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => 'hidden' })`,
    )
    // Nothing matches yet, and the stream has told no position so soon: the list is asked for anew.
    await signIn(page, desk.central.url, desk.central.keys.operator, `/events?who=${cpId}&action=AUTH_FAIL`)
    await page.locator('[data-tail=resting]').waitFor() // a tab opened behind another one
    assert.equal(await streams(), 0)
    await becomes(page, 'visible')
    await page.getByText('No event matches').waitFor()
    await page.locator('[data-tail=open]').waitFor()
    await becomes(page, 'hidden')
    await page.clock.fastForward(21_000)
    await page.locator('[data-connection=resting]').waitFor()
    await eventually(async () => (await streams()) === 0)
    for (let n = 0; n < 3; n++) await desk.failLogin(cpId)
    await becomes(page, 'visible')
    await page.locator('[data-connection=open]').waitFor()
    await page.locator('.grid .row[id]').nth(2).waitFor()
    await desk.failLogin(cpId)
    await page.locator('.grid .row[id]').nth(3).waitFor()
    assert.equal(await page.locator('.grid .row[id]').count(), 4)
    desk.assertQuiet(seen)
  })

  test('console: many windows share the connections of the browser; who has to wait says so, and misses nothing', async () => {
    const { cpId } = await desk.central.chargePoint()
    const path = `/events?who=${cpId}&action=AUTH_FAIL`
    await eventually(async () => (await streams()) === 0)
    const { page: first, seen } = await desk.open(path)
    await first.locator('[data-tail=open]').waitFor()
    const pages = [first]
    for (let n = 0; n < 4; n++) {
      const page = await first.context().newPage()
      await page.goto(`${desk.central.url}/console${path}`)
      await page.locator(`[data-tail=${n < 2 ? 'open' : 'waiting'}]`).waitFor()
      await page.locator('[data-connection=open]').waitFor()
      pages.push(page)
    }
    const last = pages[4] as Page
    await last.getByText('Not live: other windows of this browser are.').waitFor()
    assert.equal(await streams(), 4, 'three lists, and one overview for all')
    assert.equal(await last.evaluate(`fetch('/session').then(({ status }) => status)`), 200)

    await desk.failLogin(cpId)
    for (const page of pages.slice(0, 3)) await page.locator('.grid .row[id]').first().waitFor()
    // The one that goes has the overview, too: another window takes that over as well.
    for (const page of pages.slice(0, 2)) await page.close()
    for (const page of pages.slice(2)) {
      await page.locator('[data-tail=open]').waitFor()
      await page.locator('[data-connection=open]').waitFor()
      await page.locator('.grid .row[id]').first().waitFor()
    }
    await desk.failLogin(cpId)
    for (const page of pages.slice(2)) {
      await page.locator('.grid .row[id]').nth(1).waitFor()
      assert.equal(await page.locator('.grid .row[id]').count(), 2)
    }
    await eventually(async () => (await streams()) === 4)
    desk.assertQuiet(seen)
  })

  test('console: a witness that does not cosign is named on the overview, and why on the page of the evidence', async t => {
    const { url, witness } = await serve(t, temporaryFolder(t), []) // it follows no log, ours neither
    const central = await startTestCentral({
      EVC_LOG_ORIGIN: 'log.example/console',
      EVC_WITNESSES: `${url}|${formatVerifierKey(witness.key)}`,
      EVC_WITNESS_QUORUM: '1',
    })
    t.after(() => central.close())
    const { page } = await desk.browser.newPage()
    await signIn(page, central.url, central.keys.auditor)
    await page.locator('.checks').getByText(`failing: ${witness.key.name}`).waitFor()
    await page.goto(`${central.url}/console/evidence`)
    await page.locator('.lines .status.bad').waitFor()
    assert.match(await page.locator('.lines li').innerText(), /Unknown log/)
  })

  /** As a browser tells a page of a tab that is put behind another one, or comes back. */
  const becomes = (page: Page, state: 'hidden' | 'visible') =>
    page.evaluate(`{
      Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => '${state}' })
      document.dispatchEvent(new Event('visibilitychange'))
    }`)

  async function streams(): Promise<number> {
    const { text } = await desk.central.send('GET', '/metrics')
    return Number(/^evc_http_stream_clients (\d+)$/m.exec(text)?.[1] ?? 0)
  }
})

interface Glided {
  /** What was not as if one scrolled through all rows at once. */
  readonly faults: string[]
  /** Rows that come before those that have pixels, as that changed; and the most rows that had pixels. */
  readonly bases: number[]
  readonly rows: number
}

/** Scrolls the list to a row, 300 rows at a time, and holds in each frame all that is drawn against where it should be. */
const GLIDE = `async toRow => {
  const grid = document.querySelector('.grid')
  const list = grid.querySelector('.rows')
  const all = () => [...grid.querySelectorAll('.row')]
  const indexOf = row => Number(row.getAttribute('aria-rowindex')) - 2
  const frame = () => new Promise(requestAnimationFrame)
  /** How far down one is, as the row says that is drawn first. */
  const offset = () => {
    const [row] = all()
    return indexOf(row) * ${ROW_PIXELS} - (row.getBoundingClientRect().top - grid.getBoundingClientRect().top - ${ROW_PIXELS})
  }
  const isDrawn = () => {
    const first = Math.floor(offset() / ${ROW_PIXELS})
    const drawn = new Set(all().filter(row => row.id !== '').map(indexOf))
    const shown = Math.floor(grid.clientHeight / ${ROW_PIXELS}) - 2
    return Array.from({ length: shown }, (_, n) => first + n).every(index => drawn.has(index))
  }
  const drawn = async () => {
    while (!isDrawn()) await frame()
  }
  await drawn()
  const faults = []
  const bases = []
  let rows = 0
  const sum = Number(all()[0].id.slice(6)) + indexOf(all()[0])
  for (let at = offset(), first = true; at !== toRow * ${ROW_PIXELS}; first = false) {
    const by = Math.max(-9000, Math.min(toRow * ${ROW_PIXELS} - at, 9000))
    const room = grid.scrollHeight - grid.clientHeight - grid.scrollTop
    if (by > room) {
      // More is asked for at the end of what there is.
      grid.scrollTop += room
      at += room
      while (grid.scrollHeight - grid.clientHeight - grid.scrollTop < ${ROW_PIXELS}) await frame()
    } else {
      grid.scrollTop += by
      at += by
    }
    // Rows are drawn anew in the second one.
    for (let n = 0; n < 2; n++) {
      await frame()
      if (offset() !== at) faults.push('at ' + offset() + ' and not at ' + at)
    }
    at = offset()
    for (const row of all()) {
      if (row.id !== '' && Number(row.id.slice(6)) + indexOf(row) !== sum) faults.push('row ' + indexOf(row) + ' is ' + row.id)
    }
    const base = indexOf(all()[0]) - new DOMMatrix(getComputedStyle(all()[0]).transform).m42 / ${ROW_PIXELS}
    if (base !== bases.at(-1)) bases.push(base)
    rows = Math.max(rows, list.offsetHeight / ${ROW_PIXELS})
  }
  await drawn()
  return { faults, bases, rows }
}`
