/**
 * The package as a stranger gets it: packed (which builds it), installed into an empty project, run and type-checked
 * there. Packed from a copy, so that a build in the working tree is neither used nor disturbed.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, delimiter, dirname, join, posix } from 'node:path'
import test, { after, before } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'rolldown'

const root = join(import.meta.dirname, '..', '..')
const run = promisify(execFile)
const LEFT_BEHIND = new Set(['node_modules', '.git', 'dist', 'data'])

let folder: string
let project: string
let files: string[]

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'evc-pack-'))
  const copy = join(folder, 'copy')
  await cp(root, copy, { recursive: true, filter: source => !LEFT_BEHIND.has(basename(source)) })
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: copy })
  const [packed] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as [{ filename: string; files: { path: string }[] }]
  files = packed.files.map(file => file.path)

  project = join(folder, 'project')
  await mkdir(project)
  await writeFile(join(project, 'package.json'), '{ "name": "empty", "private": true, "type": "module" }')
  await run(
    'npm',
    ['install', '--prefer-offline', '--no-audit', '--no-fund', join(folder, packed.filename), 'fastify'],
    {
      cwd: project,
    },
  )
})
after(() => rm(folder, { recursive: true, force: true }))

const node = (...args: string[]) => run(process.execPath, args, { cwd: project, timeout: 60_000 })

test('package: holds compiled code, pages, types, documents and examples, and nothing else', () => {
  const allowed =
    /^(?:package\.json|LICENSE|[A-Z]+\.md|examples\/[\w-]+\.(?:ts|py)|bin\/ev-central\.js|docs\/[\w./-]+|dist\/[\w./-]+\.(?:js|d\.ts)|dist\/pack\/evidence-page\.html|dist\/console\/(?:index\.html|assets\/[\w-]+\.(?:js|css|svg))(?:\.br|\.gz)?)$/
  assert.deepEqual(
    files.filter(file => !allowed.test(file)),
    [],
  )
  assert.ok(files.includes('dist/pack/evidence-page.html'))
  assert.ok(files.includes('dist/console/index.html.br'))
  for (const entry of ['index', 'fastify', 'express', 'node-http']) {
    assert.ok(files.includes(`dist/embed/${entry}.js`) && files.includes(`dist/embed/${entry}.d.ts`))
  }
})

test('package: every link of its documents leads to a file that is in it', async () => {
  const documents = files.filter(file => file.endsWith('.md'))
  assert.ok(documents.length > 5)
  for (const document of documents) {
    const text = await readFile(join(project, 'node_modules', 'ev-central', document), 'utf8')
    for (const [, target = ''] of text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)) {
      assert.ok(files.includes(posix.join(posix.dirname(document), target)), `${document} links to ${target}`)
    }
  }
})

test('package: what package.json exports is there', async () => {
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  type Target = string | { readonly [condition: string]: Target }
  const filesOf = (target: Target): string[] =>
    typeof target === 'string' ? [target] : Object.values(target).flatMap(filesOf)
  for (const file of filesOf(manifest.exports)) assert.ok(files.includes(file.replace('./', '')), file)
})

const SCRIPT = `
import fastify from 'fastify'
import { createAudit, currentContext } from 'ev-central'
import { auditFastify } from 'ev-central/fastify'
import { auditExpress, auditExpressErrors } from 'ev-central/express'
import { withAudit } from 'ev-central/node-http'
import { verifyEvidencePack, verifyPath } from 'ev-central/verify'

const audit = await createAudit({ dataDir: './trail' })
const app = fastify()
app.register(auditFastify, { audit })
app.post('/login', async () => {
  audit.authFail('CP-1', currentContext(), audit.REASON.INVALID_CREDENTIALS)
  return {}
})
const url = await app.listen({ host: '127.0.0.1', port: 0 })
const login = body => fetch(url + '/login', { method: 'POST', headers: { 'content-type': 'application/json' }, body })
await login('{}')
await login('{')
await audit.flush()
const events = await audit.queryEvents({ order: 'asc' })
console.log(events.map(event => [event.action, event.endpoint, event.ip].join(' ')).join())
console.log([auditExpress({ audit }), auditExpressErrors(), withAudit({ audit }, () => {})].map(it => typeof it).join())
await app.close()
await audit.close()
console.log((await verifyPath('./trail')).verdict, (await verifyEvidencePack(new Uint8Array())).exit)
`

test('package: runs in an empty project, worker threads and all, and ends by itself', async () => {
  await writeFile(join(project, 'app.js'), SCRIPT)
  const { stdout, stderr } = await node('app.js')
  assert.equal(stderr, '')
  assert.deepEqual(stdout.trim().split('\n'), [
    'AUTH_FAIL /login 127.0.0.1,VALIDATION_ERROR /login 127.0.0.1',
    'function,function,function',
    'UNVERIFIABLE 22',
  ])
})

const TYPED = `
import fastify from 'fastify'
import { createServer } from 'node:http'
import { createAudit, type EmbeddedAudit, openAuditDatabase, type StoredEvent } from 'ev-central'
import { auditExpress, auditExpressErrors } from 'ev-central/express'
import { auditFastify } from 'ev-central/fastify'
import { withAudit } from 'ev-central/node-http'
import { type EvidenceSource, type Report, verify, verifyEvidencePack } from 'ev-central/verify'

const audit: EmbeddedAudit = await createAudit({ dataDir: './trail' })
const events: StoredEvent[] = await audit.queryEvents({ action: ['AUTH_FAIL', 'INCIDENT'], limit: 10 })
audit.authFail('CP-1', undefined, audit.REASON.REVOKED)
// @ts-expect-error a reason of no catalogue
audit.authFail('CP-1', undefined, 'BAD_MOOD')
// @ts-expect-error no such filter
await audit.queryEvents({ actoin: 'AUTH_FAIL' })
fastify({ logger: true }).register(auditFastify, { audit, who: request => request.hostname })
createServer(withAudit({ audit, trustedProxies: ['10.0.0.0/8'] }, (request, response) => response.end(request.url)))
const handlers = [auditExpress({ audit }), auditExpressErrors({ problems: true })] as const
const judge = (source: EvidenceSource): Promise<Report> => verify(source, { key: 'log.example+00000000+AA==' })
const judgePack = async (zip: Uint8Array): Promise<number> => (await verifyEvidencePack(zip, { key: 'x' })).exit
export { events, handlers, judge, judgePack, openAuditDatabase }
`

test('package: its types check in that project, strictly, without the types of Express', async () => {
  await writeFile(join(project, 'typed.ts'), TYPED)
  const ofNode = { module: 'nodenext', types: ['node'], typeRoots: [join(folder, 'types')] }
  await mkdir(join(folder, 'types'))
  await symlink(join(root, 'node_modules', '@types', 'node'), join(folder, 'types', 'node'))
  await checkTypes('typed.ts', ofNode)
})

const IN_BROWSERS = `
import { verifyEvidencePack } from 'ev-central/verify'

export const judge = async (zip: Uint8Array): Promise<string> => (await verifyEvidencePack(zip)).verdict
`

test('package: its verifier is bundled for browsers without anything of Node, and has types of its own there', async () => {
  const source = join(project, 'browser.ts')
  const bundle = join(project, 'browser.js')
  await writeFile(source, IN_BROWSERS)
  await build({ input: source, platform: 'browser', output: { file: bundle, format: 'esm' }, logLevel: 'silent' })
  assert.doesNotMatch(await readFile(bundle, 'utf8'), /\bnode:|\brequire\(/)
  assert.equal(await (await import(pathToFileURL(bundle).href)).judge(new Uint8Array()), 'MALFORMED')
  await writeFile(
    source,
    `${IN_BROWSERS}// @ts-expect-error there are no paths\nexport { verifyPath } from 'ev-central/verify'\n`,
  )
  const ofBrowsers = { module: 'esnext', moduleResolution: 'bundler', customConditions: ['browser'], types: [] }
  await checkTypes('browser.ts', { ...ofBrowsers, lib: ['es2024', 'esnext.disposable', 'dom'] })
})

async function checkTypes(file: string, options: object): Promise<void> {
  const ofAll = { target: 'es2024', strict: true, noEmit: true, skipLibCheck: false }
  const compilerOptions = { ...ofAll, skipDefaultLibCheck: true, ...options } // those of the compiler itself are its own matter
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: [file] }))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  await node(tsc, '-p', 'tsconfig.json').catch(error => assert.fail(error.stdout || String(error)))
}

test('package: its command runs', async () => {
  // What npx runs; npx itself is a second of work and not ours.
  const command = join(project, 'node_modules', '.bin', 'ev-central')
  const env = { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}` }
  const { stdout } = await run(command, ['--help'], { cwd: project, env })
  assert.match(stdout, /serve/)
  const { stdout: version } = await run(command, ['--version'], { cwd: project, env })
  assert.match(version, /\d+\.\d+\.\d+/)
})
