/**
 * The console in a real browser over a grown trail: how much is loaded, when it can be used, how evenly the list scrolls, and
 * what an hour of live tail (200 events a second, fed in as fast as the page takes them) leaves in memory.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import { builtConsole } from '../scripts/console.ts'
import { launchBrowser, type TestBrowser } from '../test/e2e/browser.ts'
import { signIn } from '../test/e2e/console-page.ts'
import { startTestCentral, type TestCentral } from '../test/http/harness.ts'
import { createEventGenerator } from './generator.ts'
import { openTrail } from './open-trail.ts'
import { leaveUnindexed } from './restart.ts'
import type { Size } from './size.ts'
import { type Figure, median } from './table.ts'

const ROUNDS = 5
const SCROLL_MS = 6_000
const HOUR_EVENTS = 720_000

export async function benchConsole(size: Size): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), 'evc-bench-console-'))
  const next = createEventGenerator({
    seed: 7,
    chargePoints: 20_000,
    addresses: 100_000,
    start: Date.UTC(2026, 0, 1),
    stepMs: 500,
  })
  for (let rows = 0; rows < size.events; rows += size.trancheEvents) {
    await leaveUnindexed(folder, size.trancheEvents, next)
    const trail = await openTrail(folder)
    await trail.caughtUp()
    await trail.close()
  }
  const central = await startTestCentral({ EVC_DATA_DIR: folder })
  try {
    await using browser = await launchBrowser()
    const interactive: number[] = []
    for (let round = 0; round < ROUNDS; round++) interactive.push(await interactiveMs(browser, central))
    const scrolled = await scroll(browser, central)
    const megabytes = await tailMegabytes(browser, central)
    return [
      { name: 'console, all of it, brotli', value: await loadedKilobytes(), unit: 'kB', goal: ['<=', 250] },
      {
        name: 'console, first load to events on the screen',
        value: median(interactive),
        unit: 'ms',
        goal: ['<=', 1_000],
      },
      { name: `scrolling ${size.events} events`, value: scrolled.framesPerSecond, unit: 'frames/s', goal: ['>=', 50] },
      { name: 'the same, events passed', value: scrolled.rows, unit: 'events' },
      { name: 'page memory after an hour of live tail', value: megabytes, unit: 'MB', goal: ['<=', 150] },
    ]
  } finally {
    await central.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function loadedKilobytes(): Promise<number> {
  const folder = await builtConsole()
  const names = (readdirSync(folder, { recursive: true }) as string[]).filter(name => name.endsWith('.br'))
  return names.reduce((sum, name) => sum + readFileSync(join(folder, name)).length, 0) / 1_000
}

/** From the navigation, with an empty cache, until rows are there and the page takes input. */
async function interactiveMs(browser: TestBrowser, central: TestCentral): Promise<number> {
  const { page } = await browser.newPage()
  await signIn(page, central.url, central.keys.auditor, '/events')
  const state = await page.context().storageState()
  await page.context().close()
  const { page: fresh } = await browser.newPage({ storageState: state })
  await fresh.goto(`${central.url}/console/events`, { waitUntil: 'commit' })
  const ms = Number(
    await fresh.evaluate(`new Promise(resolve => {
      const look = () => document.querySelector('.grid .row[id]') ? requestIdleCallback(() => resolve(performance.now())) : requestAnimationFrame(look)
      look()
    })`),
  )
  await fresh.context().close()
  return ms
}

async function scroll(browser: TestBrowser, central: TestCentral): Promise<{ framesPerSecond: number; rows: number }> {
  const { page } = await browser.newPage()
  await signIn(page, central.url, central.keys.auditor, '/events')
  await page.locator('.grid .row[id]').first().waitFor()
  const { frames, ms, rows } = (await page.evaluate(`new Promise(resolve => {
    const grid = document.querySelector('.grid')
    const started = performance.now()
    let frames = 0
    const step = () => {
      frames++
      grid.scrollTop += 60
      const ms = performance.now() - started
      if (ms < ${SCROLL_MS}) requestAnimationFrame(step)
      else resolve({ frames, ms, rows: Math.round(grid.scrollTop / 30) })
    }
    requestAnimationFrame(step)
  })`)) as { frames: number; ms: number; rows: number }
  await page.context().close()
  return { framesPerSecond: (frames / ms) * 1_000, rows }
}

/** The page's stream is replaced by one that does not wait for the hour to pass. */
async function tailMegabytes(browser: TestBrowser, central: TestCentral): Promise<number> {
  const { page } = await browser.newPage()
  await page.addInitScript(`{
    const Real = EventSource
    window.EventSource = function (url) {
      if (!url.startsWith('/audit/stream')) return new Real(url)
      const source = { close() { clearInterval(timer) } }
      let sent = 0
      const first = 100_000_000
      const timer = setInterval(() => {
        if (sent === 0) source.onopen()
        for (let n = 0; n < 2_000 && sent < ${HOUR_EVENTS}; n++, sent++) {
          const id = first + sent
          source.onmessage({ data: JSON.stringify({ id, date_time: new Date(1e12 + sent * 5).toISOString(), who: 'CP-' + (sent % 5000),
            ip: '203.0.113.' + (sent % 250), action: 'AUTH_FAIL', description: 'Authentication failed: INVALID_CREDENTIALS', severity: 'WARN',
            reason_code: 'INVALID_CREDENTIALS', request_id: crypto.randomUUID(), endpoint: '/auth/credentials', http_method: 'POST', status_code: 401,
            metadata_json: null, created_at: new Date(1e12 + sent * 5).toISOString() }) })
        }
        if (sent === ${HOUR_EVENTS}) clearInterval(timer)
      }, 20)
      return source
    }
  }`)
  await signIn(page, central.url, central.keys.auditor, '/events')
  await page.locator(`#event-${100_000_000 + HOUR_EVENTS - 1}`).waitFor({ timeout: 120_000 })
  const bytes = await heapBytes(page)
  await page.context().close()
  return bytes / 1e6
}

async function heapBytes(page: Page): Promise<number> {
  const debug = await page.context().newCDPSession(page)
  await debug.send('HeapProfiler.collectGarbage')
  await debug.send('Performance.enable')
  const { metrics } = await debug.send('Performance.getMetrics')
  return metrics.find(({ name }) => name === 'JSHeapUsedSize')?.value ?? Number.NaN
}
