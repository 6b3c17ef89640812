/**
 * The direction of imports, as a table. A stage may import only what stands in its row; `event`, `limits`, `errors` and `counted`
 * are vocabulary that everybody may use. Fails on: an import outside the table, `process` outside of `cli`, a source
 * file that nothing imports (entry points are named), Node in what runs in browsers, a source file over the size limit.
 */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'

const MAY_IMPORT: Record<string, readonly string[]> = {
  event: [],
  context: [],
  evidence: [],
  postgres: [],
  journal: [],
  audit: ['event', 'context', 'journal'],
  security: ['event', 'context', 'postgres', 'files', 'audit'],
  files: [],
  threads: [],
  witness: ['evidence', 'files'],
  log: ['event', 'evidence', 'files', 'threads'],
  checkpoint: ['event', 'evidence', 'postgres', 'files', 'log', 'store', 'threads'],
  verify: ['evidence', 'postgres'],
  store: ['event', 'evidence', 'postgres', 'files', 'log', 'threads'],
  indexer: ['event', 'journal', 'log', 'store', 'threads'],
  query: ['event', 'context', 'evidence', 'postgres', 'log', 'store', 'threads'],
  archive: [
    'event',
    'context',
    'evidence',
    'postgres',
    'files',
    'audit',
    'log',
    'store',
    'query',
    'checkpoint',
    'threads',
  ],
  erasure: ['event', 'context', 'evidence', 'postgres', 'audit', 'security', 'log', 'store', 'archive', 'threads'],
  move: ['event', 'evidence', 'postgres', 'security', 'log', 'store', 'checkpoint'],
  pack: ['evidence', 'query'],
  'evidence-page': ['evidence'],
  settings: ['context', 'evidence', 'postgres'],
  http: ['event', 'context', 'evidence', 'audit', 'security', 'query', 'pack'],
  service: [
    'event',
    'context',
    'evidence',
    'files',
    'threads',
    'postgres',
    'witness',
    'journal',
    'audit',
    'security',
    'store',
    'indexer',
    'query',
    'checkpoint',
    'archive',
    'erasure',
    'move',
    'settings',
    'verify',
    'http',
  ],
  embed: ['event', 'context', 'audit', 'query', 'http', 'service'],
  cli: [
    'event',
    'context',
    'evidence',
    'files',
    'postgres',
    'checkpoint',
    'audit',
    'security',
    'store',
    'query',
    'pack',
    'archive',
    'erasure',
    'settings',
    'service',
    'witness',
    'verify',
  ],
}
const VOCABULARY = new Set(['limits.ts', 'errors.ts', 'counted.ts'])
const ENTRY_POINTS = new Set([
  'cli/main.ts',
  'verify/index.ts',
  'verify/sources/verify-thread.ts',
  'indexer/indexer-thread.ts',
  'log/log-thread.ts',
  'checkpoint/signer-thread.ts',
  'store/checkpoint-thread.ts',
  'query/reader-thread.ts',
  'archive/archive-thread.ts',
  'erasure/erasure-thread.ts',
  'service/shared-watch-thread.ts',
  'service/verification-thread.ts',
  'evidence/crypto-browser.ts',
  'evidence-page/main.ts',
  'embed/index.ts',
  'embed/fastify.ts',
  'embed/express.ts',
  'embed/node-http.ts',
])
/** Only evidence/crypto.ts, which browsers replace, and the sources of the verifier may use Node. */
const RUNS_IN_BROWSERS = /^(?:evidence\/(?!crypto\.ts)|evidence-page\/|verify\/(?!index\.ts|sources\/))/
/** Of the service, the console may load what runs in browsers, and take the types of what it asks. */
const CONSOLE_LOADS = /^(?:event|evidence)\//
const CONSOLE_TYPES = /^(?:event|evidence|http|query|security)\//
const LINES_MAX = 450

const root = join(import.meta.dirname, '..', 'src')
const files = globSync('**/*.ts', { cwd: root }).map(file => file.replaceAll('\\', '/'))
const problems: string[] = []
const imported = new Set<string>()

for (const file of files) {
  const text = readFileSync(join(root, file), 'utf8')
  const stage = file.includes('/') ? (file.split('/')[0] as string) : ''
  const allowed = stage === '' ? [] : MAY_IMPORT[stage]
  if (allowed === undefined) problems.push(`${file}: the folder is not in the table of scripts/check-imports.ts`)
  for (const target of relativeImports(text).map(path => normalize(join(dirname(file), path)))) {
    imported.add(target)
    const targetStage = target.includes('/') ? (target.split('/')[0] as string) : ''
    const isFree = VOCABULARY.has(target) || targetStage === stage || target === '../package.json'
    if (!isFree && !allowed?.includes(targetStage)) problems.push(`${file}: must not import ${target}`)
  }
  const lines = text.split('\n').length
  if (lines > LINES_MAX) problems.push(`${file}: ${lines} lines; a file of one purpose needs at most ${LINES_MAX}`)
  if (RUNS_IN_BROWSERS.test(file) && /'node:|\bBuffer\b|'\.\/sources\//.test(withoutComments(text))) {
    problems.push(`${file}: must run in browsers, so it may not use Node`)
  }
  if (stage !== 'cli' && /(?<![.\w])process\.\w/.test(withoutComments(text))) {
    problems.push(`${file}: only cli/ touches process`)
  }
}
for (const file of files) {
  if (!imported.has(file) && !ENTRY_POINTS.has(file)) problems.push(`${file}: nothing imports it`)
}

checkConsole()

for (const problem of problems) console.error(problem)
console.log(`imports: ${files.length} files of ${relative(process.cwd(), root)}, ${problems.length} problems`)
process.exitCode = problems.length === 0 ? 0 : 1

function relativeImports(text: string): string[] {
  return [...withoutComments(text).matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map(match => match[1] as string)
}

function withoutTypeImports(text: string): string {
  return text.replace(/^(?:import|export) type [^']*'[^']+'/gm, '')
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '')
}

/** The pages run in browsers: of the service they may use what runs there too, and nothing of it may use them. */
function checkConsole(): void {
  const folder = join(root, '..', 'console', 'src')
  for (const file of globSync('**/*.{ts,tsx}', { cwd: folder })) {
    const text = readFileSync(join(folder, file), 'utf8')
    const loaded = new Set(relativeImports(withoutTypeImports(text)))
    for (const path of relativeImports(text)) {
      const target = relative(root, join(folder, dirname(file), path))
      const isOwn = target.startsWith(relative(root, folder))
      const allowed = loaded.has(path) ? CONSOLE_LOADS : CONSOLE_TYPES
      if (!isOwn && !allowed.test(target)) problems.push(`console/${file}: must not import ${target}`)
    }
    if (/'node:/.test(text)) problems.push(`console/${file}: must run in browsers, so it may not use Node`)
    const lines = text.split('\n').length
    if (lines > LINES_MAX)
      problems.push(`console/${file}: ${lines} lines; a file of one purpose needs at most ${LINES_MAX}`)
  }
}
