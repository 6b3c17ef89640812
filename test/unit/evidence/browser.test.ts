/** The folder as a bundler puts it together for browsers: `crypto-browser.ts` for `crypto.ts`, and nothing of Node. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { encodeText, formatBase64 } from '../../../src/evidence/encoding.ts'
import { growTree, hashLeaf } from '../../../src/evidence/merkle.ts'

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
const evidence = Object.assign({}, ...(await Promise.all(process.argv.slice(1).map(file => import(file)))))
const tree = evidence.growTree()
for (let i = 0; i < 300; i++) tree.append(evidence.hashLeaf(evidence.encodeText(String(i))))
const key = evidence.parseVerifierKey('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW')
process.stdout.write(evidence.formatBase64(tree.root()) + ' ' + evidence.formatVerifierKey(key).length)
`

test('evidence: works without anything of Node, with the same answers', () => {
  const folder = join(root, 'src', 'evidence')
  const files = readdirSync(folder).map(name => join(folder, name))
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', PROGRAM, ...files], { encoding: 'utf8' })
  const tree = growTree()
  for (let i = 0; i < 300; i++) tree.append(hashLeaf(encodeText(String(i))))
  assert.equal(output, `${formatBase64(tree.root())} 66`)
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
