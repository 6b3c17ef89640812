/**
 * The page of an evidence pack as one string: script and style inside, allowed by their hashes and nothing else, no network.
 * Where the pack goes, it has the comment `<!--pack-->`.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { rolldown } from 'rolldown'

const folder = join(import.meta.dirname, '..', 'src', 'evidence-page')
const CRYPTO = '../src/evidence/crypto-browser.ts'

export async function bundleEvidencePage(): Promise<string> {
  const [html, style, script] = await Promise.all([
    readFile(join(folder, 'page.html'), 'utf8'),
    readFile(join(folder, 'page.css'), 'utf8'),
    bundleScript(),
  ])
  const policy = [
    "default-src 'none'",
    `script-src ${hashOf(script)}`,
    `style-src ${hashOf(style)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
  const parts: Record<string, string> = {
    policy: `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    style: `<style>${style}</style>`,
    script: `<script>${script}</script>`,
  }
  return html.replace(/<!--(policy|style|script)-->/g, (_comment, name: string) => parts[name] as string)
}

async function bundleScript(): Promise<string> {
  await using bundle = await rolldown({
    input: join(folder, 'main.ts'),
    platform: 'browser',
    onLog(_level, { message }) {
      throw new Error(message) // a module that is not found would only be a warning
    },
    plugins: [
      {
        name: 'browser-crypto', // as package.json tells the bundlers of others
        resolveId: id => (id.endsWith('/crypto.ts') ? join(import.meta.dirname, CRYPTO) : null),
      },
    ],
  })
  const { output } = await bundle.generate({ format: 'iife', minify: true })
  const [{ code }] = output
  if (/<\/script|<!--/i.test(code)) throw new Error('the script would end the element that it is in')
  return code
}

function hashOf(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}
