/** The folder as a bundler puts it together for browsers: `crypto-browser.ts` for `crypto.ts`, and nothing of Node. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

const root = join(import.meta.dirname, '..', '..', '..')

const PROGRAM = `
import { registerHooks } from 'node:module'
registerHooks({
  resolve(specifier, context, next) {
    if (specifier.startsWith('node:') || specifier === 'crypto') throw new Error(specifier + ' in a browser')
    return next(specifier.replace(/\\/crypto\\.ts$/, '/crypto-browser.ts'), context)
  },
})
globalThis.Buffer = undefined
const evidence = await import(process.argv[1])
const tree = evidence.growTree()
for (let i = 0; i < 300; i++) tree.append(evidence.hashLeaf(evidence.encodeText(String(i))))
const key = evidence.parseVerifierKey('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW')
process.stdout.write(evidence.formatBase64(tree.root()) + ' ' + evidence.formatVerifierKey(key).length)
`

test('evidence: works without anything of Node, with the same answers', async () => {
  const index = join(root, 'src', 'evidence', 'index.ts')
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', PROGRAM, index], { encoding: 'utf8' })
  const evidence = await import('../../../src/evidence/index.ts')
  const tree = evidence.growTree()
  for (let i = 0; i < 300; i++) tree.append(evidence.hashLeaf(evidence.encodeText(String(i))))
  assert.equal(output, `${evidence.formatBase64(tree.root())} 66`)
})

test('evidence: package.json tells bundlers which file is for browsers', () => {
  const { browser } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  assert.deepEqual(browser, { './dist/evidence/crypto.js': './dist/evidence/crypto-browser.js' })
  assert.equal(evidenceExports('crypto.ts'), evidenceExports('crypto-browser.ts'))
})

function evidenceExports(file: string): string {
  const source = readFileSync(join(root, 'src', 'evidence', file), 'utf8')
  return [...source.matchAll(/^export function (.*) \{$/gm)].map(match => match[1]).join('\n')
}
