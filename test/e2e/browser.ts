/**
 * A real browser for tests: the headless Chromium of the package registry, with a temporary profile.
 *
 * Promise: only 127.0.0.1 can be reached; what a page asked for, printed, threw or had refused by its policy is in
 * its `seen`. Web security stays on (the arguments that the package proposes switch it off), so that a policy means here
 * what it means for a user. The browser ends with its test, also a killed one: it goes when its pipe closes.
 * Owns: one browser process, its home and profile, and the unpacked browser in `node_modules/.cache`, shared by all
 * runs. Crash while unpacking: a folder with a random name that nobody uses; the next run unpacks again. A killed test
 * leaves its temporary folders.
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inflate } from '@sparticuz/chromium'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

/** For `skip`: why there is no browser on this machine, false where there is. */
export const noBrowserHere =
  process.platform === 'linux' && process.arch === 'x64' ? false : 'the packaged browser is for Linux on x64'

/** What happened in a page, in order. */
export interface Seen {
  /** Every address asked for, those that could not be reached too. */
  readonly requests: string[]
  /** Console messages of the types error and warning. */
  readonly complaints: string[]
  /** Exceptions that nobody caught. */
  readonly exceptions: string[]
  /** `directive blocked-address` of what the content policy refused. */
  readonly violations: string[]
}

export interface SeenPage {
  readonly page: Page
  readonly seen: Seen
}

export interface TestBrowser extends AsyncDisposable {
  /** A page with cookies, storage and cache of its own. */
  newPage(options?: BrowserContextOptions): Promise<SeenPage>
  /** All of them, but for these. */
  closePages(except?: readonly Page[]): Promise<void>
  close(): Promise<void>
}

/** How long a page may take for one step. Not an assertion: what is slower than this is stuck. */
const STEP_MS_MAX = 30_000

export async function launchBrowser(): Promise<TestBrowser> {
  const folder = await unpackedBrowser()
  const home = await mkdtemp(join(tmpdir(), 'browser-'))
  const browser = await chromium.launch({
    executablePath: join(folder, 'chromium'),
    args: [
      '--headless=shell',
      '--no-sandbox', // it needs rights that a container seldom has; only our own pages are opened
      '--no-zygote',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
    env: {
      PATH: process.env.PATH,
      HOME: home,
      LD_LIBRARY_PATH: join(folder, 'al2023', 'lib'), // libraries that a slim image lacks
      FONTCONFIG_FILE: join(folder, 'fonts.conf'),
    },
  })
  const close = async () => {
    await browser.close()
    await rm(home, { recursive: true, force: true })
  }
  const closePages = async (except: readonly Page[] = []) => {
    for (const context of browser.contexts()) {
      if (except.some(page => page.context() === context)) continue
      for (const page of context.pages()) await page.unrouteAll({ behavior: 'ignoreErrors' }) // an answer may be on its way
      await context.close()
    }
  }
  return { newPage: options => newPage(browser, options), closePages, close, [Symbol.asyncDispose]: close }
}

async function newPage(browser: Browser, options: BrowserContextOptions = {}): Promise<SeenPage> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-GB', ...options })
  context.setDefaultTimeout(STEP_MS_MAX)
  const seen: Seen = { requests: [], complaints: [], exceptions: [], violations: [] }
  context.on('request', request => seen.requests.push(request.url()))
  context.on('weberror', error => seen.exceptions.push(error.error().message))
  context.on('console', message => {
    if (['error', 'warning'].includes(message.type())) seen.complaints.push(message.text())
  })
  await context.exposeBinding('reportViolation', (_source, text: string) => void seen.violations.push(text))
  await context.addInitScript(`document.addEventListener('securitypolicyviolation', event =>
    reportViolation(event.effectiveDirective + ' ' + event.blockedURI))`)
  const page = await context.newPage()
  page.on('websocket', socket => seen.requests.push(socket.url()))
  return { page, seen }
}

const MODULES = join(import.meta.dirname, '..', '..', 'node_modules')
const PACKAGE = join(MODULES, '@sparticuz', 'chromium')

/** The folder with the browser, its libraries and fonts, unpacked (211 MB, 3 s) by whichever run came first. */
async function unpackedBrowser(): Promise<string> {
  const { version } = JSON.parse(await readFile(join(PACKAGE, 'package.json'), 'utf8')) as { version: string }
  const folder = join(MODULES, '.cache', `chromium-${version}`)
  if (existsSync(folder)) return folder
  await mkdir(join(MODULES, '.cache'), { recursive: true })
  const own = await mkdtemp(`${folder}-`)
  await unpackInto(own)
  const fonts = `<dir>${join(folder, 'fonts')}</dir><cachedir>${join(folder, 'fonts-cache')}</cachedir>`
  await writeFile(join(own, 'fonts.conf'), `<?xml version="1.0"?><fontconfig>${fonts}</fontconfig>`)
  // Only the rename makes it the browser of all; another run may have been quicker.
  await rename(own, folder).catch(async (error: NodeJS.ErrnoException) => {
    await rm(own, { recursive: true, force: true })
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
  })
  return folder
}

/** `inflate` knows one target, the folder for temporary files, and looks it up before it first waits. */
async function unpackInto(folder: string): Promise<void> {
  const before = process.env.TMPDIR
  process.env.TMPDIR = folder
  const unpacking = ['chromium.br', 'fonts.tar.br', 'al2023.tar.br'].map(file => inflate(join(PACKAGE, 'bin', file)))
  if (before === undefined) delete process.env.TMPDIR
  else process.env.TMPDIR = before
  await Promise.all(unpacking)
}
