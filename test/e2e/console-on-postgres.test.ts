/**
 * The console of an instance on PostgreSQL: one story through all of its pages. What each page can do is in console.test.ts; here it
 * is questions, the stream, changes of state and the log that come from somewhere else.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { postgresServer } from '../harness/postgres.ts'
import { eventually } from '../http/harness.ts'
import { noBrowserHere } from './browser.ts'
import { startConsole } from './console-page.ts'

const server = postgresServer()

test('console on PostgreSQL: an attack is seen live and answered, and the answer is proven in the browser', {
  skip: noBrowserHere,
}, async t => {
  const desk = await startConsole({ EVC_DATABASE_URL: await server.createDatabase() })
  t.after(() => desk[Symbol.asyncDispose]())
  const { page, seen } = await desk.open('/')
  const { ip, cpId } = await desk.attack()
  await page.locator('.bars').getByRole('link', { name: ip }).click()
  const rows = page.locator('.grid .row[id]')
  await rows.filter({ hasText: cpId }).nth(4).waitFor()
  await page.locator('[data-tail=open]').waitFor()
  await desk.failLogin(cpId, ip)
  await rows.nth(5).waitFor()
  assert.equal(await rows.count(), 6)

  await page.getByRole('link', { name: 'Charge points' }).click()
  await page
    .locator('tr', { hasText: cpId })
    .getByRole('button', { name: /Actions/ })
    .click()
  await page.getByRole('menuitem', { name: 'Take out of service' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('Reason').fill('attacked')
  await dialog.getByRole('button', { name: 'Take out of service' }).click()
  await page.locator('tr', { hasText: cpId }).filter({ hasText: 'Out of service' }).waitFor()

  await page.getByRole('link', { name: 'Incidents' }).click()
  await page.locator('tr', { hasText: ip }).getByRole('button').click()
  const detail = page.getByRole('complementary')
  await detail.getByRole('button', { name: 'Resolve' }).click()
  await dialog.getByLabel('Note').fill('Out of service.')
  await dialog.getByRole('button', { name: 'Resolve' }).click()
  await detail.locator('.lead', { hasText: 'Resolved' }).waitFor()

  const { id } = await desk.newest('reason_code=RESOLVED')
  await eventually(
    async () => (await desk.central.send('GET', `/audit/events/${id}/proof`, { as: 'auditor' })).status === 200,
  )
  await page.goto(`${desk.central.url}/console/events?event=${id}`)
  await detail.getByRole('button', { name: 'Verify in this browser' }).click()
  await detail.getByText(/Verified in your browser against checkpoint [\d,]+\./).waitFor()

  await page.getByRole('link', { name: 'Evidence' }).click()
  await page.getByRole('button', { name: 'Check the signature' }).click()
  await page.getByText(/The signature of checkpoint [\d,]+ is right/).waitFor()
  await page.getByRole('button', { name: 'Verify now' }).click()
  await page.getByText('Pristine').waitFor()
  desk.assertQuiet(seen)
})
