/**
 * `npm run bench [-- --quick] [--postgres] [NAME ...]`: measures what the documents claim; prints a table and writes bench-result.json.
 * The full run takes about twenty minutes and 8 GB of disk, `--quick` about a minute. `--postgres` measures the shared store and
 * nothing else, in about ten minutes; it starts a server of its own, unless EVC_TEST_DATABASE_URL names one.
 */
import { join } from 'node:path'
import { benchAuditEvent } from './audit-event.ts'
import { benchConsole } from './console.ts'
import { benchDurable } from './durable.ts'
import { benchEvidence } from './evidence.ts'
import { benchExport } from './export.ts'
import { benchLogin } from './login.ts'
import { benchLoginPostgres } from './login-postgres.ts'
import { benchPostgres } from './postgres.ts'
import { FULL, QUICK, type Size } from './size.ts'
import { type Figure, printFigures } from './table.ts'
import { benchTrail } from './trail.ts'
import { benchVerify } from './verify.ts'
import { benchVerifyPostgres } from './verify-postgres.ts'

/** As the command line does (bin/ev-central.js): threads that a benchmark starts load what was compiled before. */
process.env.NODE_COMPILE_CACHE ??= join(import.meta.dirname, '..', 'node_modules', '.cache', 'ev-central')

const BENCHMARKS: Record<string, (size: Size) => Promise<Figure[]>> = {
  event: benchAuditEvent,
  durable: benchDurable,
  login: benchLogin,
  export: benchExport,
  evidence: benchEvidence,
  trail: benchTrail,
  verify: benchVerify,
  console: benchConsole,
}

const POSTGRES_BENCHMARKS: Record<string, (size: Size) => Promise<Figure[]>> = {
  postgres: benchPostgres,
  login: benchLoginPostgres,
  verify: benchVerifyPostgres,
}
const FLAGS = new Set(['--quick', '--postgres'])

const options = process.argv.slice(2)
const size = options.includes('--quick') ? QUICK : FULL
const isPostgres = options.includes('--postgres')
const wanted = options.filter(option => !option.startsWith('--') || !FLAGS.has(option))
const benchmarks = isPostgres ? POSTGRES_BENCHMARKS : BENCHMARKS
const unknown = wanted.filter(name => !Object.hasOwn(benchmarks, name))
if (unknown.length > 0) {
  console.error(`no such benchmark: ${unknown.join(', ')}; there are ${Object.keys(benchmarks).join(', ')}`)
  process.exit(2)
}
const figures: Figure[] = []
for (const [name, bench] of Object.entries(benchmarks)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  console.log(`measuring ${name} ...`)
  figures.push(...(await bench(size)))
}
printFigures(figures, join(import.meta.dirname, '..', 'bench-result.json'))
