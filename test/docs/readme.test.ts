/** What the documents show is what the tests run. */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test from 'node:test'

const root = join(import.meta.dirname, '..', '..')
const documents = [...globSync('*.md', { cwd: root }), ...globSync('docs/*.md', { cwd: root })]

test('docs: every link to a file leads somewhere', () => {
  for (const document of documents) {
    const text = readFileSync(join(root, document), 'utf8')
    for (const [, target = ''] of text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)) {
      assert.ok(existsSync(join(root, dirname(document), target)), `${document} links to ${target}`)
    }
  }
})

test('docs: a snippet marked with a file is that file, but for where the package is imported from', () => {
  let marked = 0
  for (const document of documents) {
    const text = readFileSync(join(root, document), 'utf8')
    for (const [, file = '', snippet = ''] of text.matchAll(/<!-- (examples\/[\w.-]+) -->\n```ts\n([\s\S]*?)```/g)) {
      marked++
      assert.equal(snippet, withoutHead(readFileSync(join(root, file), 'utf8')), `${document}: ${file}`)
    }
  }
  assert.ok(marked > 0)
})

/** Drops the head comment and names the package instead of the sources. */
function withoutHead(source: string): string {
  return source
    .replace(/^\/\*\*[\s\S]*?\*\/\n/, '')
    .replaceAll('../src/embed/index.ts', 'ev-central')
    .replaceAll(/\.\.\/src\/embed\/([\w-]+)\.ts/g, 'ev-central/$1')
}
