/** What tests and screenshots do with the console first. */
import type { Page } from 'playwright-core'

export async function signIn(page: Page, url: string, key: string, path = '/'): Promise<void> {
  await page.goto(`${url}/console${path}`)
  await page.getByLabel('Admin key').fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.locator('nav[aria-label=Pages]').waitFor()
}
