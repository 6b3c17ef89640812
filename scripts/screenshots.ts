/**
 * `node scripts/screenshots.ts`: the pages of the console over a made-up day, in both themes, to docs/images.
 *
 *   node scripts/screenshots.ts --out FOLDER          elsewhere; --width and --height of the window, --only NAME
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Page } from 'playwright-core'
import { launchBrowser } from '../test/e2e/browser.ts'
import { signIn } from '../test/e2e/console-page.ts'
import { cpIdOf, importDay } from '../test/harness/day-of-events.ts'
import { startTestCentral, type TestCentral } from '../test/http/harness.ts'

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: join(import.meta.dirname, '..', 'docs', 'images') },
    width: { type: 'string', default: '1440' },
    height: { type: 'string', default: '900' },
    only: { type: 'string' },
  },
})

/** What is done on each page before it is shown. */
const PAGES: Readonly<Record<string, (page: Page, url: string) => Promise<void>>> = {
  overview: async (page, url) => {
    await page.goto(`${url}/console/`)
    await page.locator('.plot canvas').waitFor()
  },
  events: async (page, url) => {
    await page.goto(`${url}/console/events?severity=WARN%2CERROR%2CCRITICAL`)
    await page.locator('.grid .row').first().waitFor()
    await page.locator('.grid .row.critical').first().click()
    await page.getByRole('button', { name: 'Verify in this browser' }).click()
    await page.getByText('Verified in your browser').waitFor()
  },
  incidents: async (page, url) => {
    await page.goto(`${url}/console/incidents`)
    await page.locator('.table button.link').first().click()
    await page.locator('.timeline li').first().waitFor()
  },
  'charge-points': async (page, url) => {
    await page.goto(`${url}/console/charge-points`)
    await page.locator('.table button.link').nth(2).click()
    await page.locator('.detail dl').waitFor()
  },
  evidence: async (page, url) => {
    await page.goto(`${url}/console/evidence`)
    await page.getByRole('button', { name: 'Verify now' }).click()
    await page.getByText('Pristine').waitFor()
  },
}

mkdirSync(values.out, { recursive: true })
const dataDir = mkdtempSync(join(tmpdir(), 'screenshots-'))
await importDay(dataDir, Date.now())
const central = await startTestCentral({ EVC_DATA_DIR: dataDir })
try {
  await furnish(central)
  await using browser = await launchBrowser()
  const viewport = { width: Number(values.width), height: Number(values.height) }
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page } = await browser.newPage({ viewport, colorScheme, timezoneId: 'Europe/Berlin' })
    await signIn(page, central.url, central.keys.admin)
    for (const [name, prepare] of Object.entries(PAGES)) {
      if (values.only !== undefined && values.only !== name) continue
      await prepare(page, central.url)
      await page.mouse.move(0, 0)
      const path = join(values.out, `console-${name}-${colorScheme}.png`)
      await page.screenshot({ path, animations: 'disabled' })
      console.log(path)
    }
    await page.context().close()
  }
} finally {
  await central.close()
  rmSync(dataDir, { recursive: true, force: true })
}

async function furnish({ send }: TestCentral): Promise<void> {
  const post = (path: string, body: object) => send('POST', path, { as: 'operator', body })
  for (let n = 0; n < 36; n++) {
    const cp_id = cpIdOf(n)
    const { body } = await post('/charge-points', { cp_id, location: `Bay ${1 + (n % 12)}` })
    if (n % 7 !== 3) await post('/keys/generate', { cp_id })
    if (n % 5 !== 2) await send('POST', '/auth/credentials', { body: { cp_id, credentials: body.credentials } })
    if (n % 11 === 4) await post('/status/out-of-service', { cp_id, reason: 'connector replaced' })
    if (n === 17) await post('/status/revoke', { cp_id, reason: 'stolen' })
  }
  const { body } = await send('GET', '/audit/incidents', { as: 'auditor' })
  const [, second, third] = body.episodes as { episode_id: number }[]
  await post(`/audit/incidents/${second?.episode_id}/acknowledge`, { note: 'Calling the harbour site.' })
  await post(`/audit/incidents/${third?.episode_id}/acknowledge`, {})
  await post(`/audit/incidents/${third?.episode_id}/resolve`, { note: 'Address blocked at the firewall.' })
}
