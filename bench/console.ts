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
import { eventually, startTestCentral, type TestCentral } from '../test/http/harness.ts'
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
    const read = await scroll(browser, central, 60)
    const skimmed = await scroll(browser, central, 300)
    const events = Math.min(HOUR_EVENTS, size.events)
    const followed = await tail(central, events, false)
    const paused = await tail(central, events, true)
    return [
      { name: 'console, all of it, brotli', value: await loadedKilobytes(), unit: 'kB', goal: ['<=', 250] },
      {
        name: 'console, first load to events on the screen',
        value: median(interactive),
        unit: 'ms',
        goal: ['<=', 1_000],
      },
      scrolling(size.events, read),
      scrolling(size.events, skimmed),
      {
        name: `page memory after ${events} events of live tail`,
        value: followed.process,
        unit: 'MB',
        goal: ['<=', 150],
      },
      { name: 'the same, heap of its scripts', value: followed.heap, unit: 'MB' },
      { name: 'page memory, the list paused all the while', value: paused.process, unit: 'MB', goal: ['<=', 150] },
      { name: 'the same, heap of its scripts', value: paused.heap, unit: 'MB' },
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

interface Scrolled {
  readonly framesPerSecond: number
  readonly rowsPerSecond: number
}

function scrolling(events: number, { framesPerSecond, rowsPerSecond }: Scrolled): Figure {
  const name = `scrolling ${events} events, ${Math.round(rowsPerSecond)} a second`
  return { name, value: framesPerSecond, unit: 'frames/s', goal: ['>=', 50] }
}

async function scroll(browser: TestBrowser, central: TestCentral, pixels: number): Promise<Scrolled> {
  const { page } = await browser.newPage()
  await signIn(page, central.url, central.keys.auditor, '/events')
  await page.locator('.grid .row[id]').first().waitFor()
  const { frames, ms, rows } = (await page.evaluate(`new Promise(resolve => {
    const grid = document.querySelector('.grid')
    const started = performance.now()
    let frames = 0
    const step = () => {
      frames++
      grid.scrollTop += ${pixels}
      const ms = performance.now() - started
      if (ms < ${SCROLL_MS}) requestAnimationFrame(step)
      else resolve({ frames, ms, rows: Math.round(grid.scrollTop / 30) })
    }
    requestAnimationFrame(step)
  })`)) as { frames: number; ms: number; rows: number }
  await page.context().close()
  return { framesPerSecond: (frames / ms) * 1_000, rowsPerSecond: (rows / ms) * 1_000 }
}

/**
 * The service sends the last hour's worth of the trail, as fast as the page takes it, over the real stream: the page is made to
 * begin that far back.
 */
async function tail(central: TestCentral, events: number, isPaused: boolean): Promise<PageMemory> {
  await using browser = await launchBrowser() // its own, so that no other page is in its processes
  const { page } = await browser.newPage()
  const { body } = await central.send('GET', '/audit/events?limit=1', { as: 'auditor' })
  const start = body.events[0].id - events
  await page.route('**/audit/stream*', route =>
    route.continue({ url: `${route.request().url()}?last_event_id=${start}` }),
  )
  await page.route(
    '**/audit/events?*',
    route => route.continue({ url: `${route.request().url()}&before_id=${start + 1}` }),
    {
      times: 1,
    },
  )
  await signIn(page, central.url, central.keys.auditor, '/events')
  if (isPaused) await page.getByRole('button', { name: 'Pause' }).click()
  const arrived = async () => Number(await page.locator('[data-arrived]').getAttribute('data-arrived'))
  await eventually(async () => (await arrived()) >= events, 300_000)
  return await memoryOf(page)
}

interface PageMemory {
  /** What scripts hold. */
  readonly heap: number
  /** All that is the page's process's own, the browser's code for it included. */
  readonly process: number
}

async function memoryOf(page: Page): Promise<PageMemory> {
  const debug = await page.context().newCDPSession(page)
  await debug.send('HeapProfiler.collectGarbage')
  await debug.send('Performance.enable')
  const { metrics } = await debug.send('Performance.getMetrics')
  const system = await page.context().browser()?.newBrowserCDPSession()
  const { processInfo = [] } = (await system?.send('SystemInfo.getProcessInfo')) ?? {}
  const renderers = processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => privateBytes(id))
  return {
    heap: (metrics.find(({ name }) => name === 'JSHeapUsedSize')?.value ?? Number.NaN) / 1e6,
    process: Math.max(...renderers) / 1e6, // an empty one may be kept ready beside it
  }
}

function privateBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const kilobytes = [...text.matchAll(/^Private_\w+: +(\d+) kB$/gm)].map(match => Number(match[1]))
  return kilobytes.reduce((sum, n) => sum + n, 0) * 1_024
}
