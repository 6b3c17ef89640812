/** The trail in the console, in a real browser over the real service: what events and evidence show, and what one takes away of them. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, afterEach, before, describe, test } from 'node:test'
import { eventually } from '../http/harness.ts'
import { noBrowserHere } from './browser.ts'
import { type ConsoleUnderTest, signIn, startConsole } from './console-page.ts'

describe('the trail in the console', { skip: noBrowserHere }, () => {
  let desk: ConsoleUnderTest
  before(async () => {
    desk = await startConsole()
  })
  afterEach(() => desk.leave())
  after(() => desk?.[Symbol.asyncDispose]())

  test('console: an event is shown whole, with what belongs to it, and proven in the browser', async () => {
    const { ip, cpId } = await desk.attack()
    const { id } = await desk.newest(`action=INCIDENT&ip=${ip}`)
    // The page waits for the checkpoint itself, but a browser complains of each answer that there is none yet.
    await eventually(
      async () => (await desk.central.send('GET', `/audit/events/${id}/proof`, { as: 'auditor' })).status === 200,
    )
    const { page, seen } = await desk.visit(`/events?action=INCIDENT&ip=${ip}`)
    await page.locator('.grid .row').first().click()
    const detail = page.getByRole('complementary')
    await detail.getByText('"failure_count": 5').waitFor()
    await detail.getByRole('button', { name: 'Verify in this browser' }).click()
    await detail.getByText(/Verified in your browser against checkpoint [\d,]+\./).waitFor()
    await detail.getByRole('link', { name: 'Same address' }).click()
    await page.locator('.grid .row', { hasText: cpId }).nth(4).waitFor()
    assert.equal(new URL(page.url()).search, `?ip=${ip}`)
    await page.keyboard.press('Home')
    desk.assertQuiet(seen)
  })

  test('console: a row that somebody changed is not proven', async () => {
    const { cpId } = await desk.attack()
    const event = await desk.newest(`who=${cpId}&action=AUTH_FAIL`)
    const proof = await desk.central.send('GET', `/audit/events/${event.id}/proof`, { as: 'auditor' })
    assert.equal(proof.status, 200, 'it is signed')
    desk.central.changeRow(event.id)
    const { page } = await desk.visit(`/events?event=${event.id}`)
    await page.getByRole('button', { name: 'Verify in this browser' }).click()
    await page.locator('.proof .verdict.bad').waitFor()
    const said = await page.locator('.proof').innerText()
    assert.ok(!said.includes('Verified'), said)
  })

  test('console: the filters are copied as curl, command line and SQL, exported, and saved', async () => {
    const { cpId } = await desk.attack()
    const path = `/events?who=${cpId}&severity=WARN%2CCRITICAL&start_time=2026-01-01T01:00:00%2B01:00`
    const { page, seen } = await desk.visit(path)
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    const copied = async (name: string) => {
      await page.getByRole('button', { name: /Copy as|Copied/ }).click()
      await page.getByRole('menuitem', { name, exact: true }).click()
      await page.getByRole('button', { name: 'Copied' }).waitFor()
      return String(await page.evaluate('navigator.clipboard.readText()'))
    }
    const address = `${desk.central.url}/audit/events?who=${cpId}&severity=WARN%2CCRITICAL&start_time=2026-01-01T01%3A00%3A00%2B01%3A00`
    assert.equal(await copied('curl'), `curl -H "X-Admin-Key: $ADMIN_KEY" '${address}'`)
    assert.equal(
      await copied('Command line'),
      `npx ev-central query --who ${cpId} --severity WARN,CRITICAL --start-time 2026-01-01T01:00:00+01:00`,
    )
    assert.equal(
      await copied('SQL'),
      `SELECT * FROM audit_events WHERE who = '${cpId}' AND severity IN ('WARN', 'CRITICAL') AND date_time >= '2026-01-01T00:00:00.000Z' ORDER BY id DESC LIMIT 100;`,
    )
    await page.getByRole('button', { name: 'Export' }).click()
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('menuitem', { name: 'NDJSON' }).click(),
    ])
    const lines = (await readFile(await download.path(), 'utf8')).trim().split('\n')
    assert.ok(lines.length >= 5 && lines.every(line => JSON.parse(line).who === cpId))

    await page.getByRole('button', { name: 'Saved' }).click()
    await page.getByRole('menuitem', { name: 'Save these filters…' }).click()
    await page.getByLabel('Name').fill('My station')
    await page.getByRole('button', { name: 'Save', exact: true }).click()
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.getByRole('button', { name: 'Saved' }).click()
    await page.getByRole('menuitem', { name: 'My station', exact: true }).click()
    await page.waitForURL(url => url.searchParams.get('who') === cpId)

    await page.getByRole('button', { name: 'Saved' }).click()
    await page.getByRole('menuitem', { name: 'Forget “My station”' }).click()
    await page.reload()
    await page.getByRole('button', { name: 'Saved' }).click()
    await page.getByText('None saved in this browser').waitFor()
    assert.equal(await page.getByRole('menuitem', { name: /My station/ }).count(), 0)
    desk.assertQuiet(seen)
  })

  test('console: a filter is typed and applied by keys; one that is not taken is named, and not asked for again', async () => {
    const { cpId } = await desk.attack()
    const { page, seen } = await desk.browser.newPage()
    await page.clock.install()
    await signIn(page, desk.central.url, desk.central.keys.auditor, '/events')
    await page.locator('.grid .row').first().waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type(cpId)
    await page.keyboard.press('Enter')
    await page.waitForURL(url => url.searchParams.get('who') === cpId)
    await page.keyboard.press('Tab')
    await page.keyboard.type('10.1')
    await page.keyboard.press('Enter')
    await page.getByText('Not accepted: Ip (no address).').waitFor()
    assert.equal(await page.locator('[aria-label=Address]:focus').count(), 1)
    const asked = () => seen.requests.filter(url => url.includes('ip=10.1')).length
    const before = asked()
    await page.clock.fastForward(60_000)
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.locator('[data-tail=open]').waitFor()
    assert.equal(asked(), before)
    desk.assertQuiet(seen, 422)
  })

  test('console: the columns of the list are chosen, fit its width, and are there again later', async () => {
    const { page, seen } = await desk.open('/events', 'auditor')
    const heads = async () => (await page.getByRole('columnheader').allInnerTexts()).join()
    const hasHeads = (text: string) => eventually(async () => (await heads()) === text)
    await hasHeads('Time (UTC),Severity,Action,Who,Address,Reason,Description')
    await page.getByRole('button', { name: 'Columns' }).click()
    await page.getByRole('menuitemcheckbox', { name: 'Reason' }).click()
    await page.getByRole('menuitemcheckbox', { name: 'Endpoint' }).click()
    await page.keyboard.press('Escape')
    await hasHeads('Time (UTC),Severity,Action,Who,Address,Description,Endpoint,Id')
    await page.reload()
    await hasHeads('Time (UTC),Severity,Action,Who,Address,Description,Endpoint,Id')
    await page.locator('.grid .row').first().click()
    await hasHeads('Time (UTC),Severity,Action,Who,Endpoint')
    await page.setViewportSize({ width: 320, height: 800 })
    await page.keyboard.press('Escape')
    await hasHeads('Time (UTC),Severity,Action,Who')
    desk.assertQuiet(seen)
  })

  test('console: the evidence page checks the signature here, has all of it verified, and gives out a pack', async () => {
    const { page, seen } = await desk.visit('/evidence', 'auditor')
    await page.getByRole('button', { name: 'Check the signature' }).click()
    await page.getByText(/The signature of checkpoint [\d,]+ is right/).waitFor()
    await page.getByRole('button', { name: 'Verify now' }).click()
    // An earlier test changed a row: the page has to say so.
    await page.locator('.verdict', { hasText: 'Asked by aldo' }).waitFor()
    await page.getByText(desk.central.logKey()).first().waitFor()
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download the pack' }).click(),
    ])
    assert.match(download.suggestedFilename(), /^evidence-.*\.zip$/)
    // What cannot be had is said in the page.
    await page.route('**/audit/evidence?*', route =>
      route.continue({ url: `${route.request().url()}&incident=999999` }),
    )
    await page.getByRole('button', { name: 'Download the pack' }).click()
    await page.getByRole('alert').getByText('EVENT_NOT_FOUND').waitFor()
    await page.unroute('**/audit/evidence?*')
    desk.assertQuiet(seen, 404)
  })
})
