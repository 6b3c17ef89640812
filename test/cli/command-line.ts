/** Runs the command line: the real binary in a process of its own, or its program in this process on a made-up terminal. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Writable } from 'node:stream'
import type { TestContext } from 'node:test'
import { runCommandLine } from '../../src/cli/program.ts'
import { createTerminal } from '../../src/cli/terminal.ts'

const BINARY = join(import.meta.dirname, '..', '..', 'bin', 'ev-central.js')

export type Environment = Record<string, string>

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Running {
  readonly child: ChildProcess
  readonly stdout: () => string
  readonly stderr: () => string
  readonly ended: Promise<Ended>
  /** Resolves with stdout once it matches; fails if the process ends first. */
  printed(pattern: RegExp): Promise<string>
  stop(signal?: NodeJS.Signals): Promise<Ended>
}

/** A folder of the test's, removed when it ends. */
export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evc-cli-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The real binary. Ended with the test at the latest. */
export function start(t: TestContext, args: readonly string[], environment: Environment = {}): Running {
  const child = spawn(process.execPath, [BINARY, ...args], {
    env: { PATH: process.env.PATH, EVC_PORT: '0', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', text => {
    stderr += text
  })
  const ended = once(child, 'close').then(([code]): Ended => ({ code, stdout, stderr }))
  t.after(() => stop('SIGKILL'))

  function stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal)
    return ended
  }

  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    ended,
    stop,
    printed(pattern) {
      return new Promise((resolve, reject) => {
        const look = () => {
          if (pattern.test(stdout)) resolve(stdout)
        }
        look()
        child.stdout.on('data', look)
        ended.then(() => reject(new Error(`ended without printing ${pattern}:\n${stdout}\n${stderr}`)))
      })
    },
  }
}

export function run(t: TestContext, args: readonly string[], environment: Environment = {}): Promise<Ended> {
  return start(t, args, environment).ended
}

export interface Serving extends Running {
  readonly url: string
  readonly adminKey: string
}

/** `serve` on a data folder; resolves when it serves. `adminKey` is empty unless this start made one. */
export async function serve(t: TestContext, dataDir: string, environment: Environment = {}): Promise<Serving> {
  const running = start(t, ['serve'], { EVC_DATA_DIR: dataDir, ...environment })
  const banner = await running.printed(/^Ctrl-C stops it/m)
  const url = /address\s+(\S+)/.exec(banner)?.[1]
  if (url === undefined) throw new Error(`no address in:\n${banner}`)
  return { ...running, url, adminKey: /^ {2}(evca_\w+)$/m.exec(banner)?.[1] ?? '' }
}

/** The program in this process; with `columns`, on a terminal that wide. */
export async function runHere(
  args: readonly string[],
  options: { environment?: Environment; columns?: number } = {},
): Promise<Ended> {
  const stdout = collector(options.columns)
  const stderr = collector(undefined)
  const environment = options.environment ?? {}
  const terminal = createTerminal(stdout.stream, stderr.stream, environment)
  const code = await runCommandLine(['node', 'ev-central', ...args], environment, terminal)
  return { code, stdout: stdout.text(), stderr: stderr.text() }
}

function collector(columns: number | undefined) {
  let text = ''
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += chunk
      done()
    },
  })
  return { stream: Object.assign(stream, columns === undefined ? {} : { isTTY: true, columns }), text: () => text }
}

const REFERENCE_TABLE = `CREATE TABLE audit_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, date_time TEXT NOT NULL, who TEXT NOT NULL, ip TEXT NOT NULL, action TEXT NOT NULL,
  description TEXT NOT NULL, severity TEXT NOT NULL, reason_code TEXT, request_id TEXT, endpoint TEXT, http_method TEXT,
  status_code INTEGER, metadata_json TEXT, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)`

export interface ReferenceEvent {
  readonly at: Date
  readonly who?: string
  readonly ip?: string
  readonly action?: string
  readonly severity?: string
  readonly reason?: string | null
  readonly description?: string
}

/** A database as the reference implementation writes it. */
export function writeReference(file: string, events: readonly ReferenceEvent[]): void {
  const db = new DatabaseSync(file)
  db.exec(`${REFERENCE_TABLE}; BEGIN`)
  const insert = db.prepare(
    `INSERT INTO audit_events (date_time, who, ip, action, description, severity, reason_code, status_code)
     VALUES (?, ?, ?, ?, ?, ?, ?, 401)`,
  )
  for (const { at, who, ip, action, severity, reason, description } of events) {
    const time = at.toISOString().replace('Z', '000+00:00')
    const code = reason === undefined ? 'INVALID_CREDENTIALS' : reason
    insert.run(
      time,
      who ?? 'CP-001',
      ip ?? '10.0.0.1',
      action ?? 'AUTH_FAIL',
      description ?? `Authentication failed: ${code}`,
      severity ?? 'WARN',
      code,
    )
  }
  db.exec('COMMIT')
  db.close()
}
