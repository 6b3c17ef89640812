/** The real service in a process of its own, as a user starts it, on a port of its own and a folder of the test's. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export const ADMIN_KEY = 'test-admin-key-0123456789abcdef0123456789'

const ROOT = join(import.meta.dirname, '..', '..')
/** `npm start`: `exec env NAME=value node ARGUMENTS`. */
const [VARIABLES = '', ARGUMENTS = ''] = JSON.parse(
  readFileSync(join(ROOT, 'package.json'), 'utf8'),
).scripts.start.split(' node ')
const START: string[] = ARGUMENTS.split(' ')
const VARIABLES_OF_START = Object.fromEntries(
  [...VARIABLES.matchAll(/(\w+)=(\S+)/g)].map(([, name, value]) => [name, value]),
)

export interface ServiceProcess {
  readonly url: string
  readonly child: ChildProcess
  /** Everything it logged and printed so far. */
  output(): string
  kill(signal: NodeJS.Signals): Promise<number | null>
}

export async function startServiceProcess(
  dataDir: string,
  environment: Record<string, string> = {},
): Promise<ServiceProcess> {
  const child = spawn(process.execPath, START, {
    cwd: ROOT,
    env: {
      ...VARIABLES_OF_START,
      PATH: process.env.PATH,
      EVC_PORT: '0',
      EVC_DATA_DIR: dataDir,
      EVC_ADMIN_KEY: ADMIN_KEY,
      EVC_LOG_LEVEL: 'warn',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', chunk => {
    output += chunk
  })
  child.stderr.on('data', chunk => {
    output += chunk
  })
  const url = await firstUrl(child, () => output)
  return {
    url,
    child,
    output: () => output,
    async kill(signal) {
      if (child.exitCode === null && child.signalCode === null) {
        const exit = once(child, 'exit')
        child.kill(signal)
        await exit
      }
      return child.exitCode
    },
  }
}

async function firstUrl(child: ChildProcess, output: () => string): Promise<string> {
  if (child.stdout === null) throw new Error('the child has no standard output')
  for await (const line of createInterface({ input: child.stdout })) {
    const url = /https?:\/\/(?:127\.0\.0\.1|\[::1\]|localhost):\d+/.exec(line)
    if (url !== null) return url[0]
  }
  throw new Error(`the service did not start:\n${output()}`)
}

export interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
  readonly requestId: string
}

/** One JSON request with the admin key unless told otherwise. */
export async function send(
  url: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = { 'x-admin-key': ADMIN_KEY },
): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  return {
    status: response.status,
    body: text === '' ? {} : JSON.parse(text),
    requestId: response.headers.get('x-request-id') ?? '',
  }
}
