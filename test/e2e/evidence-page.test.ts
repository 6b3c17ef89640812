/** The page of an evidence pack, opened as a file in a real browser without a network. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { zipSync } from 'fflate'
import { formatVerifierKey } from '../../src/evidence/note.ts'
import {
  firstKey,
  flipped,
  HOSTILE,
  inlineRange,
  makePack,
  PAIR,
  type PackFiles,
  pageOf,
  pageWith,
  SELECTION,
  signerKey,
  signManifest,
  withOwnManifest,
  withTwoKeys,
} from '../harness/pack-under-test.ts'
import { createKey } from '../unit/evidence/keys-under-test.ts'
import { launchBrowser, noBrowserHere, type Seen, type SeenPage, type TestBrowser } from './browser.ts'

describe('the page of an evidence pack', { skip: noBrowserHere }, () => {
  let folder: string
  let browser: TestBrowser
  /** For all tests: each opens another file in it, which leaves nothing of the one before. A new page costs more than a pack. */
  let shared: SeenPage
  let files: PackFiles
  let html: string
  /** Of 30 of its 290 events: for what is the same however long a pack is, as checking each event takes its time. */
  let short: PackFiles
  let shortHtml: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evidence-page-'))
    files = await makePack()
    html = pageOf(files)
    short = await makePack({ ...SELECTION, end_time: '2026-03-01T08:00:31.000Z' })
    shortHtml = pageOf(short)
    browser = await launchBrowser()
    shared = await browser.newPage({ offline: true })
  })
  after(async () => {
    await browser?.close()
    await rm(folder, { recursive: true, force: true })
  })

  async function open(content: string): Promise<SeenPage> {
    const { page, seen } = shared
    const file = join(folder, `${crypto.randomUUID()}.html`)
    await writeFile(file, content)
    await page.goto('about:blank') // what the page before still had to say is not taken for this one's
    for (const list of Object.values(seen)) list.length = 0
    await page.goto(pathToFileURL(file).href)
    await page.locator('.verdict.green, .verdict.amber, .verdict.red').waitFor()
    return { page, seen }
  }

  /** Red, and the texts of the problems. */
  async function problemsOf(content: string): Promise<string[]> {
    const { page, seen } = await open(content)
    assert.equal(await page.locator('.verdict.red').count(), 1)
    assertQuiet(seen)
    return page.locator('#problems li').allInnerTexts()
  }

  function assertQuiet({ requests, ...rest }: Seen): void {
    assert.equal(requests.length, 1) // the page itself
    assert.deepEqual(rest, { complaints: [], exceptions: [], violations: [] })
  }

  test('evidence page: a pristine pack is green, and tells what happened and what was done', async () => {
    const { page, seen } = await open(html)
    assert.equal(await page.locator('.verdict.green').count(), 1)
    assert.match(
      await page.locator('#verdict-text').innerText(),
      /^290 of 290 events .* is signed by the log, too\. .* not compared yet/,
    )
    assert.equal(await page.locator('#problems li').count(), 0)
    assert.equal(await page.locator('#key').innerText(), signerKey)
    assert.ok((await page.locator('#earlier').innerText()).endsWith(firstKey))
    const answers = await page.locator('#questions').innerText()
    for (const part of [
      '2026-03-01 08:00:20 UTC: Incident: somebody seems to guess credentials (event 20)',
      '24 hours after that: 2026-03-02 08:00:20 UTC',
      '72 hours after that: 2026-03-04 08:00:20 UTC',
      'CP-1 logged in from 203.0.113.9, where logins had been refused before (event 22)',
      'Key of a charge point revoked, CP-1 (event 23)',
    ]) {
      assert.ok(answers.includes(part), `${part}\n${answers}`)
    }
    assert.match(await page.locator('#addresses').innerText(), /203\.0\.113\.9/)
    assert.match(await page.locator('#checked').innerText(), /Events 1 to 290 without a gap/)
    await page.locator('#least').selectOption('CRITICAL')
    assert.equal(await page.locator('#timeline tbody tr').count(), 1)
    assertQuiet(seen)
  })

  test('evidence page: hostile text is shown, and is only text', async () => {
    const { page, seen } = await open(html)
    const row = page.locator('#timeline tbody tr', { hasText: 'onerror' })
    await row.locator('summary').click()
    const text = await row.innerText()
    assert.ok(text.includes(HOSTILE.replace('\u202e', '\\u202e')), text)
    assert.equal(await page.locator('img, b').count(), 0)
    assert.equal(await page.title(), 'Evidence pack')
    assertQuiet(seen)
  })

  test('evidence page: the key that was given is recognized, another one is red, nonsense is refused', async () => {
    const { page, seen } = await open(html)
    const compare = async (key: string) => {
      await page.locator('#given').fill(key)
      await page.getByRole('button', { name: 'Compare' }).click()
      await page.locator('#key-verdict span').waitFor()
    }
    await compare('nonsense')
    await page.getByText('That is no verifier key').waitFor()
    await compare(formatVerifierKey(createKey('log.example.com/packs').key))
    await page.locator('.verdict.red').waitFor()
    assert.match(await page.locator('#key-verdict').innerText(), /NOT the key/)
    await compare(` ${firstKey}\n`)
    await page.locator('.verdict.green').waitFor()
    await compare(formatVerifierKey(createKey('log.example.com/packs').key))
    await page.locator('.verdict.red').waitFor()
    await compare(signerKey)
    await page.locator('.verdict.green').waitFor()
    assert.match(await page.locator('#verdict-text').innerText(), /the one you were given/)
    assertQuiet(seen)
  })

  test('evidence page: of two signatures both are verified in the browser, said, and missed when one was taken away', async () => {
    const { page, seen } = await open(pageWith(html, withTwoKeys))
    assert.equal(await page.locator('.verdict.amber').count(), 1) // it has no note
    assert.match(await page.locator('#checked').innerText(), /300 events, signed with Ed25519 and ML-DSA-44\./)
    await page.locator('#given').fill(PAIR.map(({ key }) => formatVerifierKey(key)).join('\n'))
    await page.getByRole('button', { name: 'Compare' }).click()
    await page.getByText('It is the key you were given.').waitFor()
    assertQuiet(seen)
    for (const signer of PAIR) {
      const problems = await problemsOf(pageWith(shortHtml, inner => withTwoKeys(inner, [signer])))
      assert.match(problems.join(), /checkpoint lacks one of the two signatures/)
    }
    const withNote = (signers: Parameters<typeof signManifest>[1]) =>
      pageWith(shortHtml, inner => {
        const own = withTwoKeys(inner)
        const manifest = Buffer.from(own.get('manifest.json') ?? assert.fail()).toString()
        return own.set('manifest.note', Buffer.from(signManifest(manifest, signers)))
      })
    const signed = await open(withNote(PAIR))
    assert.equal(await signed.page.locator('.verdict.green').count(), 1)
    assert.doesNotMatch(await signed.page.locator('#checked').innerText(), /selection is not/)
    for (const signer of PAIR) {
      const problems = await problemsOf(withNote([signer]))
      assert.match(problems.join(), /manifest\.note lacks one of the two signatures/)
    }
  })

  test('evidence page: one bit of any part changed is red, and the part is named', async () => {
    for (const name of ['events.ndjson', 'proofs.ndjson', 'checkpoint', 'keys', 'manifest.json', 'manifest.note']) {
      const { length } = short.get(name) ?? assert.fail()
      for (const share of [0, 0.37, 0.73, 1]) {
        const at = Math.min(length - 1, Math.floor(length * share))
        const content = pageWith(shortHtml, inner => inner.set(name, flipped(inner.get(name) ?? assert.fail(), at)))
        const problems = await problemsOf(content)
        assert.ok(
          problems.some(problem => problem.includes(name)),
          `${name} ${at}: ${problems.join(' ')}`,
        )
      }
    }
  })

  test('evidence page: what was changed on purpose, manifest and all, is red, and the event is named', async () => {
    const change = (from: string, to: string) => (inner: PackFiles) => {
      const text = Buffer.from(inner.get('events.ndjson') ?? assert.fail()).toString()
      assert.ok(text.includes(from))
      return withOwnManifest(inner.set('events.ndjson', Buffer.from(text.replace(from, to))))
    }
    const [problem = '', ...others] = await problemsOf(
      pageWith(html, change('"action":"INCIDENT"', '"action":"ACCESS"')),
    )
    assert.match(problem, /^Event 20 \(events\.ndjson\) is not the event that was logged/)
    assert.deepEqual(others, [])
  })

  test('evidence page: a selection that was changed is red; one that nobody signed is amber, and says what that means', async () => {
    const shorter = (inner: PackFiles) => {
      for (const name of ['events.ndjson', 'proofs.ndjson']) {
        const lines = Buffer.from(inner.get(name) ?? assert.fail())
          .toString()
          .split('\n')
        inner.set(
          name,
          Buffer.from(
            lines
              .slice(0, 100)
              .map(line => `${line}\n`)
              .join(''),
          ),
        )
      }
      return withOwnManifest(inner, { events: 100 })
    }
    const note = files.get('manifest.note') ?? assert.fail()
    const problems = await problemsOf(pageWith(html, inner => shorter(inner).set('manifest.note', note)))
    assert.deepEqual(problems, [
      'manifest.json is not what the log signed: what was asked for, or what was found, was changed afterwards.',
    ])
    const withoutNote = (inner: PackFiles) => {
      inner.delete('manifest.note')
      return inner
    }
    for (const change of [shorter, withoutNote]) {
      const { page, seen } = await open(pageWith(html, change))
      assert.match(
        await page.locator('.verdict.amber').innerText(),
        /nobody has signed\n.*The selection is not signed: .* could leave events out/s,
      )
      assert.equal(await page.locator('.verdict.green, #problems li').count(), 0)
      assertQuiet(seen)
    }
  })

  test('evidence page: a character changed in the page where the pack lies is red', async () => {
    const { start, end } = inlineRange(shortHtml)
    for (const at of [start, start + 1_000, Math.floor((start + end) / 2), end - 1]) {
      const other = shortHtml[at] === 'A' ? 'B' : 'A'
      const problems = await problemsOf(shortHtml.slice(0, at) + other + shortHtml.slice(at + 1))
      assert.match(problems[0] ?? '', /^index\.html holds data that was changed/, `${at}`)
    }
    const digest = shortHtml.replace(
      /(id="pack-digest">)(.)/,
      (_all, tag, digit) => `${tag}${digit === '0' ? '1' : '0'}`,
    )
    assert.match((await problemsOf(digest))[0] ?? '', /^index\.html holds data that was changed/)
  })

  test('evidence page: a zip that is chosen is checked in place of its own', async () => {
    const { page, seen } = await open(html)
    const choose = async (buffer: Buffer) =>
      page.locator('#copy').setInputFiles({ name: 'pack.zip', mimeType: 'application/zip', buffer })
    const events = flipped(files.get('events.ndjson') ?? assert.fail(), 100)
    await choose(Buffer.from(zipSync({ ...Object.fromEntries(files), 'events.ndjson': events })))
    await page.locator('.verdict.red').waitFor()
    await choose(Buffer.from(zipSync(Object.fromEntries(files))))
    await page.locator('.verdict.green').waitFor()
    await choose(Buffer.from('no zip'))
    await page.locator('.verdict.red').waitFor()
    assertQuiet(seen)
  })

  test('evidence page: text has the contrast of WCAG AA, light and dark', async () => {
    const { page } = await open(html)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      const weakest = await page.evaluate(`(() => {
        const numbers = colour => colour.match(/[\\d.]+/g).map(Number)
        const light = colour => {
          const [r, g, b] = numbers(colour).map(c => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
          return 0.2126 * r + 0.7152 * g + 0.0722 * b
        }
        const ground = node => {
          for (let at = node; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor
            if (colour !== 'rgba(0, 0, 0, 0)') return colour
          }
          return 'rgb(255, 255, 255)'
        }
        return Math.min(...[...document.body.querySelectorAll('*')].filter(node => node.checkVisibility()).map(node => {
          const [a, b] = [light(getComputedStyle(node).color), light(ground(node))]
          return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
        }))
      })()`)
      assert.ok(Number(weakest) >= 4.5, `${colorScheme}: ${weakest}`)
    }
  })
})
