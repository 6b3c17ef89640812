/** The console in a browser, over a service of its own: what its tests and the screenshots do with it first. */
import assert from 'node:assert/strict'
import type { BrowserContextOptions, Page } from 'playwright-core'
import { eventually, startTestCentral, type TestCentral } from '../http/harness.ts'
import { launchBrowser, type Seen, type SeenPage, type TestBrowser } from './browser.ts'

type Role = 'admin' | 'operator' | 'auditor'

export interface ConsoleUnderTest extends AsyncDisposable {
  readonly central: TestCentral
  readonly browser: TestBrowser
  /** A page of its own, signed in, and at this path. */
  open(path: string, as?: Role, options?: BrowserContextOptions): Promise<SeenPage>
  /**
   * The page of that role, signed in by the first visit, and loaded at this path: for what leaves nothing behind in the browser.
   * Signing in on a new page takes twice as long. Its `seen` begins anew.
   */
  visit(path: string, as?: Role): Promise<SeenPage>
  /** Between tests: nothing of the console is loaded any more, so no page follows what the next test does. */
  leave(): Promise<void>
  /**
   * Nothing was complained of, refused by the policy, or asked of anybody else.
   * @param refused the status of an answer that was wanted: of that the browser complains, at once or later.
   */
  assertQuiet(seen: Seen, refused?: number): void
  /** Five failed logins, which make an incident. */
  attack(): Promise<{ ip: string; cpId: string }>
  failLogin(cpId: string, from?: string): Promise<void>
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it
  newest(filter: string): Promise<any>
}

export async function startConsole(environment: Record<string, string> = {}): Promise<ConsoleUnderTest> {
  const central = await startTestCentral(environment)
  const browser = await launchBrowser()
  const failLogin = async (cp_id: string, from = central.address()) => {
    await central.send('POST', '/auth/credentials', { body: { cp_id, credentials: 'not-the-right-credentials' }, from })
  }
  const open: ConsoleUnderTest['open'] = async (path, as = 'operator', options = {}) => {
    const opened = await browser.newPage(options)
    await signIn(opened.page, central.url, central.keys[as], path)
    return opened
  }
  const visited = new Map<Role, SeenPage>()
  return {
    central,
    browser,
    failLogin,
    open,
    async visit(path, as = 'operator') {
      const known = visited.get(as)
      if (known === undefined) {
        const opened = await open(path, as)
        visited.set(as, opened)
        return opened
      }
      for (const list of Object.values(known.seen)) list.length = 0
      await known.page.goto(`${central.url}/console${path}`)
      await known.page.locator('nav[aria-label=Pages]').waitFor()
      return known
    },
    async leave() {
      const kept = [...visited.values()].map(({ page }) => page)
      await browser.closePages(kept)
      for (const page of kept) await page.goto('about:blank')
    },
    assertQuiet({ complaints: all, exceptions, violations, requests }, refused) {
      const complaints = all.filter(text => !text.includes(`responded with a status of ${refused} `))
      assert.deepEqual({ complaints, exceptions, violations }, { complaints: [], exceptions: [], violations: [] })
      for (const address of requests) assert.ok(address.startsWith(central.url), address)
    },
    async attack() {
      const ip = central.address()
      const { cpId } = await central.chargePoint()
      for (let n = 0; n < 5; n++) await failLogin(cpId, ip)
      return { ip, cpId }
    },
    newest: async filter =>
      (await central.send('GET', `/audit/events?limit=1&${filter}`, { as: 'auditor' })).body.events[0],
    async [Symbol.asyncDispose]() {
      await browser.close()
      await central.close()
    },
  }
}

export async function signIn(page: Page, url: string, key: string, path = '/'): Promise<void> {
  await page.goto(`${url}/console${path}`)
  await page.getByLabel('Admin key').fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.locator('nav[aria-label=Pages]').waitFor()
}

export const scrollTo = (page: Page, top: number) =>
  page.evaluate(`document.querySelector('.grid').scrollTo({ top: ${top} })`)

const ROW_PIXELS = 30
/** `drawn`: the page has followed the scrolling, and has every row in sight. */
const READ_GRID = `(() => {
  const grid = document.querySelector('.grid')
  const inList = grid.querySelector('.rows').offsetHeight / ${ROW_PIXELS}
  const first = Math.floor(grid.scrollTop / ${ROW_PIXELS})
  const last = Math.min(first + Math.floor(grid.clientHeight / ${ROW_PIXELS}), inList - 1)
  const isDrawn = index => grid.querySelector('.row[id][aria-rowindex="' + (index + 2) + '"]') !== null
  return {
    ids: [...grid.querySelectorAll('.row[id]')].map(row => Number(row.id.slice(6))),
    drawn: grid.querySelectorAll('.row.waiting').length === 0 && isDrawn(first) && isDrawn(last),
    end: grid.scrollTop + grid.clientHeight >= grid.scrollHeight - 2,
  }
})()`

/** Scrolls down the list of events and reads the ids of its rows, newest first. */
export async function idsFromTop(page: Page, count: number): Promise<number[]> {
  const found = new Set<number>()
  await scrollTo(page, 0)
  let top = 0
  await eventually(async () => {
    // Only when every row in sight is there is it time to go on: drawing may be behind by more than a screen.
    const state = (await page.evaluate(READ_GRID)) as { ids: number[]; drawn: boolean; end: boolean }
    for (const id of state.ids) found.add(id)
    if (state.drawn) {
      top += 600
      await scrollTo(page, top)
    }
    return found.size >= count + 40 || (state.end && state.drawn && top > count * ROW_PIXELS + 3000)
  }, 60_000)
  return [...found].sort((a, b) => b - a)
}
