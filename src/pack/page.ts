/** The page of an evidence pack around the place where the pack itself goes: built with the package, or bundled in a checkout. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

export interface PageParts {
  readonly before: string
  readonly after: string
}

/** Where the content of the pack stands in the page. */
const PLACE = '<!--pack-->'
const BUILT = new URL('./evidence-page.html', import.meta.url)
/** Named at run time: the published package has no scripts. */
const BUNDLER = new URL('../../scripts/evidence-page.ts', import.meta.url)

let parts: Promise<PageParts> | undefined

/** Bundled at the first call of a process, and never again. */
export function loadPage(): Promise<PageParts> {
  parts ??= readPage()
  return parts
}

async function readPage(): Promise<PageParts> {
  const page = existsSync(BUILT) ? await readFile(BUILT, 'utf8') : await bundle()
  const [before, after, ...rest] = page.split(PLACE)
  if (before === undefined || after === undefined || rest.length > 0)
    throw new Error('the page has no place for a pack')
  return { before, after }
}

async function bundle(): Promise<string> {
  const { bundleEvidencePage } = (await import(BUNDLER.href)) as { bundleEvidencePage(): Promise<string> }
  return bundleEvidencePage()
}
