/** `npm run bench [-- NAME ...]`: measures what the documents claim; prints a table and writes bench-result.json. */
import { join } from 'node:path'
import { benchAuditEvent } from './audit-event.ts'
import { benchExport } from './export.ts'
import { benchLogin } from './login.ts'
import { benchQueries } from './queries.ts'
import { type Figure, printFigures } from './table.ts'

const BENCHMARKS: Record<string, () => Promise<Figure[]>> = {
  event: benchAuditEvent,
  queries: benchQueries,
  login: benchLogin,
  export: benchExport,
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter(name => !Object.hasOwn(BENCHMARKS, name))
if (unknown.length > 0) {
  console.error(`no such benchmark: ${unknown.join(', ')}; there are ${Object.keys(BENCHMARKS).join(', ')}`)
  process.exit(2)
}
const figures: Figure[] = []
for (const [name, bench] of Object.entries(BENCHMARKS)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  console.log(`measuring ${name} ...`)
  figures.push(...(await bench()))
}
printFigures(figures, join(import.meta.dirname, '..', 'bench-result.json'))
