import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { referencePages } from '../../scripts/reference-pages.ts'

for (const [file, text] of Object.entries(referencePages())) {
  test(`docs: ${file} is what the tables say (else: npm run generate)`, () => {
    assert.equal(readFileSync(join(import.meta.dirname, '..', '..', file), 'utf8'), text)
  })
}
