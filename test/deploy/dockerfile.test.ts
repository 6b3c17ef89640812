/**
 * deploy/Dockerfile: sound to a linter, and what it promises holds. Its steps are run too, outside of a container: each stage a
 * folder, COPY and RUN as they stand there, and the result started as production and used.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import test, { type TestContext } from 'node:test'
import type { Instruction, ModifiableInstruction } from 'dockerfile-ast'
import { validate } from 'dockerfile-utils'
import { STOP_MS_MAX } from '../../src/cli/server-process.ts'
import { eventually } from '../harness/rows.ts'
import { settingsOf, statusesOf } from './deployed.ts'
import {
  argumentsOf,
  contextFiles,
  copyContext,
  DOCKERFILE,
  execForm,
  isInContext,
  lockedNode,
  type Stage,
  stages,
  variables,
  wordsOf,
} from './dockerfile.ts'

const [BUILD, FINAL] = stages() as [Stage, Stage]

test('Dockerfile: a linter finds nothing', () => {
  assert.deepEqual(
    validate(DOCKERFILE).map(({ message }) => message),
    [],
  )
  assert.notEqual(validate(DOCKERFILE.replace('WORKDIR', 'WORKDIRR')).length, 0, 'the linter sees a misspelt word')
})

test('Dockerfile: two stages of one base image, pinned to the Node.js that the tests run on', () => {
  assert.equal(stages().length, 2)
  const [, image = ''] = /^ARG NODE_IMAGE=(\S+)$/m.exec(DOCKERFILE) ?? []
  assert.ok(image.startsWith(`node:${lockedNode()}-`), image)
  for (const { image: from } of [BUILD, FINAL]) assert.equal(from, `\${NODE_IMAGE}`)
})

test('Dockerfile: everything that is copied is there, and nothing else of the checkout is seen', () => {
  const copied = copies(BUILD).filter(({ from }) => from === undefined)
  const sources = copied.flatMap(copy => copy.sources)
  for (const source of sources) assert.ok(isInContext(source), source)
  assert.deepEqual(contextFiles().sort(), sources.sort())
  for (const { sources: own, from } of copies(FINAL)) {
    assert.equal(from, BUILD.name)
    for (const source of own) assert.match(source, /^\/app\//)
  }
})

test('Dockerfile: the last stage has a user without rights, a volume of that user, a health check and a stop signal', async () => {
  assert.deepEqual(argumentsOf(FINAL, 'USER'), ['1000:1000'])
  assert.deepEqual(argumentsOf(FINAL, 'RUN'), [], 'nothing runs as root there')
  const environment = variables(FINAL)
  assert.deepEqual(argumentsOf(FINAL, 'VOLUME'), [environment.EVC_DATA_DIR])
  const data = copies(FINAL).find(({ to }) => to === environment.EVC_DATA_DIR)
  assert.ok(data?.flags.includes('--chown=1000:1000'))
  assert.deepEqual(argumentsOf(FINAL, 'EXPOSE'), [environment.EVC_PORT])
  assert.deepEqual(argumentsOf(FINAL, 'STOPSIGNAL'), ['SIGTERM'])
  const settings = settingsOf(environment)
  assert.deepEqual([settings.isProduction, settings.host], [true, '0.0.0.0'])
  const path = /\$\{process\.env\.EVC_PORT\}(\/\w+)`/.exec(argumentsOf(FINAL, 'HEALTHCHECK')[0] ?? '')?.[1] ?? ''
  assert.deepEqual(await statusesOf([path]), { [path]: 200 })
})

test('Dockerfile: its steps, run without a container, make a package that starts as production, serves and stops', {
  skip: process.env.DEPLOY_STEPS === undefined && 'takes an npm ci and a build: DEPLOY_STEPS=1 runs it',
}, async t => {
  const folder = mkdtempSync(join(tmpdir(), 'evc-image-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const context = join(folder, 'context')
  mkdirSync(context)
  copyContext(context)
  const [build, image] = [join(folder, 'build'), join(folder, 'image')]
  runStage(BUILD, { root: build, context })
  runStage(FINAL, { root: image, context, build })

  const app = join(image, 'app')
  assert.ok(!existsSync(join(app, 'src')) && !existsSync(join(app, 'node_modules', 'typescript')))
  const production = Object.keys(JSON.parse(readFileSync(join(app, 'package.json'), 'utf8')).dependencies)
  for (const name of production) assert.ok(existsSync(join(app, 'node_modules', name)), name)
  assert.deepEqual(readdirSync(join(image, 'data')), [])
  await useImage(t, image)
})

/** What a user of the image does first. */
async function useImage(t: TestContext, image: string): Promise<void> {
  const secret = (name: string, value: string) => {
    const file = join(dirname(image), name)
    writeFileSync(file, `${value}\n`)
    return file
  }
  const adminKey = 'admin-key-of-the-image-0123456789abcdef'
  const environment = {
    ...variables(FINAL),
    PATH: process.env.PATH,
    EVC_HOST: '127.0.0.1',
    EVC_PORT: '0',
    EVC_DATA_DIR: join(image, 'data'),
    EVC_ADMIN_KEY_FILE: secret('admin-key', adminKey),
    EVC_TOKEN_SECRET_FILE: secret('token-secret', 'token-secret-of-the-image-0123456789'),
    EVC_KEY_ENCRYPTION_KEY_FILE: secret('key-encryption-key', 'key-encryption-key-of-the-image-0123'),
  }
  const [, ...words] = [
    ...execForm(argumentsOf(FINAL, 'ENTRYPOINT')[0] ?? ''),
    ...execForm(argumentsOf(FINAL, 'CMD')[0] ?? ''),
  ]
  const server = spawn(process.execPath, words, { cwd: join(image, 'app'), env: environment })
  t.after(() => server.kill('SIGKILL'))
  let output = ''
  for (const stream of [server.stdout, server.stderr]) stream.on('data', text => (output += text))
  const url = await eventually(
    () => /address +(http:\S+)/.exec(output)?.[1] ?? '',
    found => found !== '' || server.exitCode !== null,
    60_000,
  )
  assert.notEqual(url, '', output)
  const send = (path: string, body: object) =>
    fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-admin-key': adminKey },
      body: JSON.stringify(body),
    })
  const registered = (await (await send('/charge-points', { cp_id: 'CP-1' })).json()) as { credentials: string }
  const login = await send('/auth/credentials', { cp_id: 'CP-1', credentials: registered.credentials })
  assert.equal(login.status, 200, await login.text())
  await eventually(
    async () => (await fetch(`${url}/ready`)).status,
    status => status === 200,
  )
  const console_ = await fetch(`${url}/console/`)
  assert.match(await console_.text(), /<script type="module"/, 'the console is built in')

  const stopped = performance.now()
  server.kill('SIGTERM')
  const [code] = await once(server, 'exit')
  assert.equal(code, 0, output)
  assert.ok(performance.now() - stopped < STOP_MS_MAX)
  assert.ok(!existsSync(join(image, 'data', 'running')), 'a clean stop')
}

interface Copy {
  readonly from: string | undefined
  readonly flags: readonly string[]
  readonly sources: string[]
  readonly to: string
}

function copies(stage: Stage): Copy[] {
  return stage.instructions.filter(instruction => instruction.getKeyword() === 'COPY').map(copyOf)
}

function copyOf(instruction: Instruction): Copy {
  const flags = (instruction as ModifiableInstruction).getFlags()
  const paths = wordsOf(instruction)
  return {
    from: flags.find(flag => flag.getName() === 'from')?.getValue() ?? undefined,
    flags: flags.map(flag => flag.toString()),
    sources: paths.slice(0, -1),
    to: paths.at(-1) ?? '',
  }
}

/** Paths that begin with `/` are in the stage's folder. */
function runStage(stage: Stage, { root, context, build }: { root: string; context: string; build?: string }): void {
  let directory = root
  for (const instruction of stage.instructions) {
    const keyword = instruction.getKeyword()
    if (keyword === 'WORKDIR') {
      directory = within(root, root, wordsOf(instruction)[0] ?? '')
      mkdirSync(directory, { recursive: true })
    } else if (keyword === 'COPY') {
      const { from, sources, to } = copyOf(instruction)
      const origin = from === undefined ? context : (build as string)
      for (const source of sources) copyInto(within(origin, origin, source), within(root, directory, to), to)
    } else if (keyword === 'RUN') {
      runStep(instruction.getArgumentsContent() ?? '', directory)
    }
  }
}

const within = (root: string, directory: string, path: string) =>
  path.startsWith('/') ? join(root, path) : resolve(directory, path)

/** As COPY: a folder's contents go into the target, a file into a target that ends with `/`. */
function copyInto(source: string, target: string, as: string): void {
  cpSync(source, as.endsWith('/') ? join(target, basename(source)) : target, {
    recursive: true,
    verbatimSymlinks: true,
  })
}

function runStep(command: string, cwd: string): void {
  const path = `${dirname(process.execPath)}:${process.env.PATH}`
  const env = { ...process.env, PATH: path, npm_config_prefer_offline: 'true' }
  const done = spawnSync('/bin/sh', ['-c', command], { cwd, env, encoding: 'utf8' })
  assert.equal(done.status, 0, `${command}\n${done.stdout}\n${done.stderr}`)
}
