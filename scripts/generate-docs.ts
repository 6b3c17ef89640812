/** `npm run generate`: writes the generated reference pages. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { referencePages } from './reference-pages.ts'

for (const [file, text] of Object.entries(referencePages())) {
  writeFileSync(join(import.meta.dirname, '..', file), text)
  console.log(file)
}
