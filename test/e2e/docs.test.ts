/** The reference page at `/docs`, as a newcomer without a network sees it: the real service, a real browser. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Locator, Page } from 'playwright-core'
import { eventually } from '../harness/rows.ts'
import { ADMIN_KEY, type ServiceProcess, send, startServiceProcess } from '../harness/service-process.ts'
import { launchBrowser, noBrowserHere, type Seen, type SeenPage, type TestBrowser } from './browser.ts'

const GROUPS_OPENED = 3

interface Operation {
  readonly operationId: string
  readonly summary: string
  readonly tags: string[]
  readonly responses: Record<string, { content?: Record<string, { examples?: Record<string, unknown> }> }>
}
interface ListedOperation extends Operation {
  readonly method: string
  readonly path: string
}

describe('the reference page', { skip: noBrowserHere }, () => {
  let folder: string
  let service: ServiceProcess
  let browser: TestBrowser
  let operations: ListedOperation[]
  /** For all tests, as drawing it takes seconds; the one that gives it a key comes last. */
  let reference: SeenPage
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'docs-page-'))
    service = await startServiceProcess(join(folder, 'data'))
    browser = await launchBrowser()
    const { body } = await send(service.url, 'GET', '/openapi.json')
    operations = Object.entries(body.paths as Record<string, Record<string, Operation>>).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ ...operation, method: method.toUpperCase(), path })),
    )
    reference = await openReference()
  })
  after(async () => {
    await browser?.close()
    await service?.kill('SIGTERM')
    await rm(folder, { recursive: true, force: true })
  })

  test('docs: every group and every route of the description is on the page', async () => {
    const { page, seen } = reference
    assert.ok(operations.length > 0)
    const groups = await page.locator('.opblock-tag').evaluateAll(tags => tags.map(tag => tag.getAttribute('data-tag')))
    assert.deepEqual(groups.toSorted(), [...new Set(operations.flatMap(({ tags }) => tags))].sort())
    const shown = page.locator('.opblock')
    assert.equal(await shown.count(), operations.length)
    for (const operation of operations) {
      const text = await blockOf(page, operation.operationId).locator('.opblock-summary').innerText()
      // A long path is shown with places to break it.
      const words = text.replaceAll('\u200b', '')
      for (const part of [operation.method, operation.path, operation.summary]) assert.ok(words.includes(part), text)
    }
    assertQuiet(seen)
  })

  test('docs: a route opens, and shows every error it can answer with an example', async () => {
    const { page, seen } = reference
    const groups = Map.groupBy(operations, ({ tags }) => tags[0])
    // One of some groups: the page takes half a second to draw one, and all are drawn alike.
    for (const [operation] of [...groups.values()].slice(0, GROUPS_OPENED)) {
      assert.ok(operation !== undefined)
      const block = await open(page, operation.operationId)
      const rows = await block
        .locator('tr.response[data-code]')
        .evaluateAll(found => found.map(row => [row.getAttribute('data-code') as string, row.textContent] as const))
      const shown = new Map(rows)
      for (const [status, { content }] of Object.entries(operation.responses)) {
        const codes = Object.keys(content?.['application/problem+json']?.examples ?? {})
        const text = shown.get(status) ?? ''
        for (const code of codes) assert.ok(text.includes(code), `${operation.operationId} ${status}: ${code}`)
        if (codes.length > 0) assert.match(text, /"request_id": "[0-9a-f-]{36}"/)
      }
      await block.locator('.opblock-summary-control').dispatchEvent('click') // closed: open ones are all drawn again
    }
    assertQuiet(seen)
  })

  test('docs: an error with several codes shows the example of the chosen one', async () => {
    const { page, seen } = reference
    const block = await open(page, 'authenticateByCredentials')
    const row = block.locator('tr.response[data-code="403"]')
    await row.locator('.examples-select select').selectOption('CP_OUT_OF_SERVICE')
    const example = await row.locator('.highlight-code code').innerText()
    assert.match(example, /"code": "CP_OUT_OF_SERVICE"/)
    assert.match(example, /"is_authorized": false/)
    assertQuiet(seen)
  })

  test('docs: a route without a key is tried from the page', async () => {
    const { page, seen } = reference
    const answer = await tryOut(page, 'health')
    assert.equal(answer.status, '200')
    assert.deepEqual(JSON.parse(answer.body), { status: 'ok' })
    assertQuiet(seen)
  })

  test('docs: a route that wants a key answers 401 without it and 200 with it, examples work as they are, and the page keeps no key', async () => {
    await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-SHOWN' })
    const { page, seen } = reference
    const refused = await tryOut(page, 'listChargePoints')
    assert.equal(refused.status, '401')
    assert.match(refused.body, /"code": "UNAUTHORIZED"/)
    assert.equal(seen.complaints.splice(0).length, 1) // the browser's own, about the 401

    await authorize(page, 'adminKey', ADMIN_KEY)
    const answer = await tryOut(page, 'listChargePoints')
    assert.equal(answer.status, '200')
    assert.match(answer.body, /"cp_id": "CP-SHOWN"/)
    assert.equal((await tryOut(page, 'registerChargePoint')).status, '201')
    const stored = await page.evaluate('JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie')
    assert.equal(stored, '{}')
    assertQuiet(seen)
  })

  test('browser: what leads elsewhere or breaks the policy is seen and refused', async () => {
    const server = createServer((_request, response) => {
      response.setHeader('content-security-policy', "default-src 'self'; img-src *")
      response.setHeader('content-type', 'text/html')
      response.end('<img src="http://192.0.2.1/a.png"><img src="http://example.com/b.png"><script>alert(1)</script>')
    }).listen(0, '127.0.0.1')
    try {
      await once(server, 'listening')
      const { page, seen } = await browser.newPage()
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
      const outside = seen.requests.filter(address => !address.startsWith('http://127.0.0.1:'))
      assert.deepEqual(outside.toSorted(), ['http://192.0.2.1/a.png', 'http://example.com/b.png'])
      assert.equal(seen.complaints.filter(text => text.includes('ERR_NAME_NOT_RESOLVED')).length, 2)
      // Told by the page itself, in its own time.
      await eventually(
        async () => seen.violations,
        found => found.length > 0,
      )
      assert.deepEqual(seen.violations, ['script-src-elem inline'])
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })

  async function openReference(): Promise<SeenPage> {
    const opened = await browser.newPage()
    await opened.page.goto(`${service.url}/docs`)
    await opened.page.locator('.opblock').first().waitFor()
    return opened
  }

  /** Nothing left the machine, and the page neither complained nor broke its policy. */
  function assertQuiet(seen: Seen): void {
    assert.ok(seen.requests.includes(`${service.url}/docs`))
    assert.deepEqual(
      seen.requests.filter(address => !address.startsWith(`${service.url}/`) && !address.startsWith('data:')),
      [],
    )
    const { complaints, exceptions, violations } = seen
    assert.deepEqual({ complaints, exceptions, violations }, { complaints: [], exceptions: [], violations: [] })
  }
})

/** The id ends with the operation's id; before that it has the name of the group. */
const blockOf = (page: Page, operationId: string) => page.locator(`.opblock[id$="-${operationId}"]`)

async function open(page: Page, operationId: string): Promise<Locator> {
  const block = blockOf(page, operationId)
  if ((await block.locator('.opblock-body').count()) === 0)
    await block.locator('.opblock-summary-control').dispatchEvent('click')
  await block.locator('.responses-table').first().waitFor()
  return block
}

/** Presses `Execute` with what the page filled in, and reads what it shows of the answer. */
async function tryOut(page: Page, operationId: string): Promise<{ status: string; body: string }> {
  const block = await open(page, operationId)
  const answered = page.waitForEvent('requestfinished')
  await block.getByRole('button', { name: 'Execute' }).click()
  const response = await (await answered).response()
  const row = block.locator(`.live-responses-table tr.response:has-text("${response?.status()}")`)
  const body = await row.locator('.highlight-code code').innerText()
  return { status: (await row.locator('.response-col_status').innerText()).trim().slice(0, 3), body }
}

async function authorize(page: Page, scheme: string, secret: string): Promise<void> {
  await page.locator('.btn.authorize').click()
  const form = page.locator('.auth-container', { has: page.locator(`code:text-is("${scheme}")`) })
  await form.locator('input').fill(secret)
  await form.getByRole('button', { name: 'Apply credentials' }).click()
  await page.locator('.close-modal').click()
}
