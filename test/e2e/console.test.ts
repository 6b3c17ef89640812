/** The console in a real browser, over the real service: signing in, what people do there, how it looks, and what it withstands. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, afterEach, before, describe, test } from 'node:test'
import type { Locator, Page } from 'playwright-core'
import { eventually } from '../http/harness.ts'
import { noBrowserHere } from './browser.ts'
import { type ConsoleUnderTest, signIn, startConsole } from './console-page.ts'

const PATHS = ['/', '/events', '/incidents', '/charge-points', '/evidence'] as const
const LOOKS = [
  { colorScheme: 'light', width: 1280 },
  { colorScheme: 'dark', width: 320 },
] as const

describe('the console', { skip: noBrowserHere }, () => {
  let desk: ConsoleUnderTest
  before(async () => {
    desk = await startConsole()
  })
  afterEach(() => desk.leave())
  after(() => desk?.[Symbol.asyncDispose]())

  test('console: signing in needs the key, the link that was asked for is where one arrives, signing out ends it', async () => {
    const { page, seen } = await desk.browser.newPage()
    await page.goto(`${desk.central.url}/console/events?severity=WARN`)
    await page.getByLabel('Admin key').fill('wrong-key-of-nobody-0123456789abcdef')
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('alert').getByText('That is not the key of an admin').waitFor()
    await page.getByLabel('Admin key').fill(desk.central.keys.auditor)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByRole('heading', { name: 'Events' }).waitFor()
    assert.match(page.url(), /events\?severity=WARN$/)
    const stored = await page.evaluate('JSON.stringify([document.cookie, { ...localStorage }, { ...sessionStorage }])')
    assert.ok(!String(stored).includes(desk.central.keys.auditor) && !String(stored).includes('evc-session'))

    await page.getByRole('button', { name: 'Signed in as aldo' }).click()
    await page.getByRole('menuitem', { name: 'Sign out', exact: true }).click()
    await page.getByLabel('Admin key').waitFor()
    assert.equal((await desk.newest('reason_code=SIGNED_OUT')).who, 'aldo')
    desk.assertQuiet(seen, 401)
  })

  test('console: signing out everywhere ends the other pages, which say so', async () => {
    // Of an admin whom no other test is.
    const first = await desk.open('/', 'admin')
    const second = await desk.open('/events', 'admin')
    await first.page.getByRole('button', { name: 'Signed in as admin' }).click()
    await first.page.getByRole('menuitem', { name: 'Sign out everywhere' }).click()
    await second.page.getByText('Your session has ended').waitFor()
  })

  test('console: an auditor sees everything, and no button that changes anything', async () => {
    const { ip } = await desk.attack()
    const { page, seen } = await desk.visit('/charge-points', 'auditor')
    await page.locator('.table tbody tr').first().waitFor()
    assert.equal(await page.getByRole('button', { name: /Register|Actions/ }).count(), 0)
    await page.goto(`${desk.central.url}/console/incidents`)
    await page.locator('tr', { hasText: ip }).getByRole('button').click()
    await page.locator('.timeline li').first().waitFor()
    assert.equal(await page.getByRole('button', { name: /Acknowledge|Resolve|note/ }).count(), 0)
    desk.assertQuiet(seen)
  })

  test('console: the list of incidents is sorted by any column, and that is said to who does not see it', async () => {
    const ips = [(await desk.attack()).ip, (await desk.attack()).ip] // as numbers, the second is the larger one
    const { page } = await desk.visit('/incidents', 'auditor')
    const from = page.getByRole('columnheader', { name: 'From' })
    const order = async () => {
      const texts = await page.locator('tbody tr').allInnerTexts()
      return texts.flatMap(text => ips.filter(ip => text.includes(ip)))
    }
    await from.getByRole('button').click()
    await page.locator('th[aria-sort=ascending]').waitFor()
    assert.deepEqual(await order(), ips)
    await from.getByRole('button').click()
    await page.locator('th[aria-sort=descending]').waitFor()
    assert.deepEqual(await order(), ips.toReversed())
  })

  test('console: an incident is acknowledged, noted and resolved, and its pack leads to its events', async () => {
    const { ip } = await desk.attack()
    const { page, seen } = await desk.visit('/incidents')
    await page.locator('tr', { hasText: ip }).getByRole('button').click()
    const detail = page.getByRole('complementary')
    await detail.getByText('Brute force suspected, 5 failures').waitFor()
    for (const [button, note] of [
      ['Acknowledge', ''],
      ['Add a note', 'Called the site.'],
      ['Resolve', 'A technician.'],
    ] as const) {
      await detail.getByRole('button', { name: button }).click()
      if (note !== '') await page.getByRole('dialog').getByLabel('Note').fill(note)
      await page.getByRole('dialog').getByRole('button', { name: button }).click()
      await page.getByRole('dialog').waitFor({ state: 'detached' })
    }
    await detail.getByText('A technician.').waitFor()
    await detail.locator('.lead', { hasText: 'Resolved' }).waitFor()
    assert.equal((await desk.newest('reason_code=RESOLVED')).who, 'olga')
    const [pack] = await Promise.all([
      page.waitForEvent('download'),
      detail.getByRole('button', { name: 'Evidence pack' }).click(),
    ])
    assert.equal((await readFile(await pack.path())).subarray(0, 2).toString(), 'PK')
    desk.assertQuiet(seen)
  })

  test('console: everything that can be done to a charge point, from registering it to bringing it back', async () => {
    const { page, seen } = await desk.visit('/charge-points')
    const id = 'E2E*CP-7'
    await page.getByRole('button', { name: 'Register' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Id').fill(id)
    await dialog.getByLabel('Location').fill('Bay 7')
    await dialog.getByRole('button', { name: 'Register' }).click()
    const secret = await dialog.locator('.secret').innerText()
    assert.match(secret, /^[0-9a-f]{64}$/)
    // Whoever types on, or clicks beside it, has not stored them.
    await page.keyboard.press('Enter')
    await page.keyboard.press('Escape')
    await page.mouse.click(5, 5)
    assert.equal(await dialog.locator('.secret').innerText(), secret)
    await dialog.getByRole('button', { name: 'I have stored them' }).click()
    await page.getByLabel('Id begins with').fill('E2E')
    const row = page.locator('tr', { hasText: id })
    await row.waitFor()
    assert.ok(!(await page.content()).includes(secret))

    const act = async (name: string, fields: { reason?: string; isConfirmed?: boolean } = {}) => {
      await row.getByRole('button', { name: /Actions/ }).click()
      await page.getByRole('menuitem', { name, exact: true }).click()
      assert.ok((await dialog.getByRole('heading').first().innerText()).includes(id))
      const button = dialog.getByRole('button', { name, exact: true })
      if (fields.reason !== undefined || fields.isConfirmed) assert.equal(await button.isEnabled(), false)
      if (fields.reason !== undefined) await dialog.getByLabel('Reason').fill(fields.reason)
      if (fields.isConfirmed) await dialog.getByLabel(`Type ${id} to confirm`).fill(id)
      await button.click()
    }
    const becomes = (text: string): Promise<void> => row.filter({ hasText: text }).waitFor()
    await act('Generate key')
    await becomes('v1')
    await act('Reset key')
    await becomes('v2')
    await act('Take out of service', { reason: 'cable damaged' })
    await becomes('Out of service')
    await act('Restore')
    await becomes('Active')
    await act('Issue new credentials', { isConfirmed: true })
    const other = await dialog.locator('.secret').innerText()
    assert.notEqual(other, secret)
    await dialog.getByRole('button', { name: 'Close' }).click()
    await act('Revoke key', { isConfirmed: true })
    await becomes('none')
    await act('Revoke', { reason: 'stolen', isConfirmed: true })
    await becomes('Revoked')
    await act('Take out of service', { reason: 'found again' })
    await becomes('Out of service')
    // Opened by keys where it covers the list, it has the focus, and gives it back.
    await page.setViewportSize({ width: 320, height: 800 })
    await row.getByRole('button', { name: id, exact: true }).focus()
    await page.keyboard.press('Enter')
    await page.getByRole('complementary').locator('h2:focus').waitFor()
    await page.keyboard.press('Escape')
    await row.locator('button.link:focus').waitFor()
    await page.setViewportSize({ width: 1280, height: 900 })
    const change = await desk.newest(`who=${encodeURIComponent(id)}&action=STATUS_CHANGE`)
    assert.equal(JSON.parse(change.metadata_json).actor, 'olga')

    await page.getByRole('button', { name: 'Register' }).click()
    await dialog.getByLabel('Id').fill(id)
    await dialog.getByRole('button', { name: 'Register' }).click()
    await dialog.getByText('Choose another cp_id, or issue new credentials for this one.').waitFor()
    desk.assertQuiet(seen, 409)
  })

  test('console: hostile text is shown and does nothing', async () => {
    const hostile = `<img src=x onerror="document.title='owned'"> \u202eevil\u202c \u001b[31m ${'A'.repeat(10_000)}`
    const { cpId } = await desk.central.chargePoint()
    await desk.central.send('POST', '/status/out-of-service', {
      as: 'admin',
      body: { cp_id: cpId, reason: '<b>x</b> {{7*7}}' },
    })
    const event = await desk.newest(`who=${cpId}&action=STATUS_CHANGE`)
    const { page, seen } = await desk.browser.newPage()
    // Our own door lets no such text in; a trail that was imported may have it all the same.
    const rewritten = async (route: Parameters<Parameters<Page['route']>[1]>[0]) => {
      const response = await route.fetch()
      const body = await response.json()
      for (const row of body.events ?? [body]) {
        row.who = hostile
        row.description = hostile
        row.reason_code = hostile
        row.metadata_json = JSON.stringify({ text: hostile, '<script>': hostile })
      }
      await route.fulfill({ response, json: body })
    }
    await page.route('**/audit/events?*', rewritten)
    await page.route(`**/audit/events/${event.id}`, rewritten)
    const path = `/events?event=${event.id}&end_time=2099-01-01T00:00:00Z`
    await signIn(page, desk.central.url, desk.central.keys.operator, path)
    await page.getByRole('complementary').getByText('onerror').first().waitFor()
    const text = await page.locator('.description').innerText()
    assert.ok(text.includes('<img src=x') && text.includes('\\u202e') && text.includes('\\u001b'))
    assert.equal(await page.locator('main img, main b b, main script').count(), 0)
    assert.match(await page.title(), /^Events/)
    const isWithin = () => page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    assert.equal(await isWithin(), true)

    await page.route('**/audit/incidents?*', async route => {
      const response = await route.fetch()
      const body = await response.json()
      for (const episode of body.episodes) {
        episode.reason_code = hostile
        episode.description = hostile
      }
      await route.fulfill({ response, json: body })
    })
    await page.getByRole('link', { name: 'Incidents' }).click()
    await page.locator('tbody button.link').first().click()
    const heading = await page.getByRole('complementary').getByRole('heading').first().innerText()
    assert.ok(heading.includes('\\u202e') && heading.length < 200, heading)
    assert.equal(await page.locator('main img').count(), 0)
    assert.equal(await isWithin(), true)
    desk.assertQuiet(seen)
  })

  test('console: keys move through the list, open and close, and `?` lists them', async () => {
    const { page, seen } = await desk.visit('/')
    await page.locator('.figures').waitFor()
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor()
    await page.locator('[role=dialog]:focus-within').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    await page.keyboard.press('g')
    await page.keyboard.press('e')
    await page.locator('.grid .row').first().waitFor()
    await page.keyboard.press('p') // so that the rows stay
    for (const key of ['j', 'j', 'ArrowDown', 'k', 'Enter']) await page.keyboard.press(key)
    const selected = await page.locator('.row.selected').getAttribute('aria-rowindex')
    assert.equal(selected, '3')
    await page.getByRole('complementary').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('complementary').waitFor({ state: 'detached' })
    // What is older is loaded as one comes near it: then the end is further down.
    const ends = async () => {
      await page.keyboard.press('End')
      const count = Number(await page.locator('.grid').getAttribute('aria-rowcount'))
      return count > 5 && (await page.locator(`.row.selected[aria-rowindex="${count}"]`).count()) === 1
    }
    await eventually(ends)
    await page.keyboard.press('Home')
    await page.locator('.row.selected[aria-rowindex="2"]').waitFor()
    desk.assertQuiet(seen)
  })

  test('console: axe finds nothing on any page, light and wide, dark and narrow', async () => {
    const { ip } = await desk.attack()
    const axe = await readFile(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8')
    const findings: string[] = []
    // The policy of the page lets no foreign script in, so this one comes by the debugger.
    const { page, seen } = await desk.browser.newPage({ bypassCSP: true })
    await page.goto(`${desk.central.url}/console/`)
    await page.evaluate(axe)
    for (const look of LOOKS) await check('sign-in', look)
    await page.getByLabel('Admin key').fill(desk.central.keys.operator)
    await page.getByRole('button', { name: 'Sign in' }).click()
    for (const path of PATHS) {
      // By its link: what was loaded stays, axe too.
      await page.locator(`nav[aria-label=Pages] a[href="/console${path}"]`).click()
      await ready(page, path, ip)
      for (const look of LOOKS) await check(path, look)
    }
    await page.locator('nav[aria-label=Pages] a[href="/console/events"]').click()
    await page.getByLabel('Who').fill('nobody-of-that-name')
    await page.keyboard.press('Enter')
    await page.getByText('No event matches').waitFor()
    await check('no event', LOOKS[0])
    assert.deepEqual(seen.exceptions, [])
    assert.deepEqual(findings, [])

    async function check(where: string, { colorScheme, width }: (typeof LOOKS)[number]): Promise<void> {
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize({ width, height: 900 })
      await page.locator(`html[data-theme=${colorScheme}]`).waitFor()
      // The list of events fits its columns in after a change of its width.
      await page.waitForFunction('document.documentElement.scrollWidth <= innerWidth')
      const found = (await page.evaluate(
        `axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
          .then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(node => id + ' ' + node.html.slice(0, 200))))`,
      )) as string[]
      findings.push(...found.map(finding => `${colorScheme} ${where} ${width}: ${finding}`))
    }
  })

  async function ready(page: Page, path: string, ip: string): Promise<void> {
    const first: Readonly<Record<string, () => Locator>> = {
      '/': () => page.locator('.plot canvas'),
      '/events': () => page.locator('.grid .row').first(),
      '/incidents': () => page.locator('tr', { hasText: ip }),
      '/charge-points': () => page.locator('.table tbody tr').first(),
      '/evidence': () => page.locator('.keys code').first(),
    }
    await first[path]?.().waitFor()
    if (path === '/incidents') {
      await page.locator('tr', { hasText: ip }).getByRole('button').click()
      await page.locator('.timeline li').first().waitFor()
    }
    if (path === '/events') {
      await page.locator('.grid .row').first().click()
      await page.getByRole('complementary').getByRole('button', { name: 'Verify in this browser' }).waitFor()
    }
  }
})
