/** `demo`: the server with a simulated fleet, so that a newcomer sees the product alive in a minute. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import { escapeUnprintable } from '../audit/redaction.ts'
import { counted } from '../counted.ts'
import type { Central } from '../service/central.ts'
import { readSettings, type Settings } from '../settings/settings.ts'
import { wholeNumber } from './filters.ts'
import { UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'
import { type Api, createApi } from './simulation/api.ts'
import { createFleet, type Fleet } from './simulation/fleet.ts'
import { createRandom } from './simulation/random.ts'
import { createStory, type Narrator, TICKS_PER_SECOND } from './simulation/story.ts'
import { printTable } from './table.ts'
import type { Terminal } from './terminal.ts'

interface DemoOptions {
  readonly chargePoints: number
  readonly seconds?: number
  readonly seed: number
}

const REGISTERING_AT_ONCE = 8
/** Longer than the indexer takes to make the last events visible. */
const SETTLE_MS = 500

export function demoCommand(shell: Shell): Command {
  return new Command('demo')
    .description('Serve with a simulated fleet: logins, mistakes, key rotations, maintenance and three attacks.')
    .option('--charge-points <n>', 'size of the fleet', wholeNumber(1, 10_000), 200)
    .option('--seconds <n>', 'end after so long (default: at Ctrl-C)', wholeNumber(1, 86_400))
    .option('--seed <n>', 'another number tells another story', wholeNumber(0, 2 ** 32 - 1), 1)
    .addHelpText(
      'after',
      `
Takes a free port unless EVC_PORT is set, and a temporary data folder unless --data-dir names an empty one. Listens on
127.0.0.1 only.

Example:
  ev-central demo --seconds 60`,
    )
    .action((options: DemoOptions, command: Command) => demo(options, command, shell))
}

async function demo(options: DemoOptions, command: Command, shell: Shell): Promise<void> {
  const { dataDir: given } = command.optsWithGlobals<{ dataDir?: string }>()
  if (given !== undefined && existsSync(given) && readdirSync(given).length > 0) {
    throw new UsageError(`${given} is not empty; a simulation does not belong into the audit trail of anything real`)
  }
  const { runServer } = await import('./server-process.ts')
  const dataDir = given ?? mkdtempSync(join(tmpdir(), 'ev-central-demo-'))
  try {
    const settings = demoSettings(shell, resolve(dataDir))
    shell.exitCode = await runServer(settings, (central, _logger, stopping) =>
      simulate(central, options, AbortSignal.any([stopping, shell.terminal.outputClosed]), shell.terminal),
    )
  } finally {
    if (given === undefined) rmSync(dataDir, { recursive: true, force: true })
  }
}

/** Of the settings only the port and the log level count: nothing real may get mixed up with a simulation. */
function demoSettings({ environment }: Shell, dataDir: string): Settings {
  return readSettings({
    EVC_PORT: environment.EVC_PORT ?? '0',
    EVC_LOG_LEVEL: environment.EVC_LOG_LEVEL ?? 'silent',
    EVC_DATA_DIR: dataDir,
    EVC_TRUSTED_PROXIES: '127.0.0.0/8,::1',
  })
}

async function simulate(central: Central, options: DemoOptions, ended: AbortSignal, terminal: Terminal): Promise<void> {
  const adminKey = central.firstAdmin?.key
  if (adminKey === undefined) throw new Error('a new data folder has a first admin')
  const startedAt = new Date()
  const api = createApi(central.url, adminKey)
  const random = createRandom(options.seed)
  const fleet = createFleet(api, random, options.chargePoints)
  printWelcome(central, adminKey, options, terminal)
  await connectFleet(fleet, terminal, ended)

  const narration = createNarration(terminal)
  const story = createStory({ fleet, api, random, narrator: narration, seconds: options.seconds })
  const ticks = options.seconds === undefined ? Number.POSITIVE_INFINITY : options.seconds * TICKS_PER_SECOND
  const begin = performance.now()
  for (let tick = 0; tick < ticks && !ended.aborted; tick++) {
    await story.tick(tick)
    if (tick % TICKS_PER_SECOND === 0) narration.progress(tick / TICKS_PER_SECOND)
    const ahead = ((tick + 1) * 1000) / TICKS_PER_SECOND - (performance.now() - begin)
    if (ahead > 0) await delay(ahead, undefined, { signal: ended }).catch(() => {})
  }
  terminal.progressDone()
  await delay(SETTLE_MS)
  await printOutcome(api, startedAt, terminal)
}

function printWelcome(central: Central, adminKey: string, options: DemoOptions, terminal: Terminal): void {
  const { url, folder } = central
  terminal.print(terminal.paint('bold', 'EV Central demo: this is a SIMULATION, no charge point here is real.'))
  terminal.print(`  address      ${terminal.paint('cyan', url)}`)
  terminal.print(`  reference    ${url}/docs`)
  terminal.print(`  data folder  ${folder.path}`)
  terminal.print(`  fleet        ${counted(options.chargePoints, 'charge point')}, seed ${options.seed}`)
  terminal.print()
  terminal.print('Look around while it runs:')
  terminal.print(`  npx ev-central --data-dir ${folder.path} monitor`)
  terminal.print(`  npx ev-central --data-dir ${folder.path} tail`)
  terminal.print(`  curl -H 'X-Admin-Key: ${adminKey}' '${url}/audit/events?action=INCIDENT'`)
  terminal.print()
}

/** Everybody is registered and logs in, as after a power cut. */
async function connectFleet(fleet: Fleet, terminal: Terminal, ended: AbortSignal): Promise<void> {
  const waiting = [...fleet.chargePoints]
  const size = waiting.length
  const connectNext = async () => {
    for (let cp = waiting.shift(); cp !== undefined && !ended.aborted; cp = waiting.shift()) {
      await fleet.register(cp)
      await fleet.logIn(cp)
      terminal.progress(`connecting ${size - waiting.length} of ${size}`)
    }
  }
  await Promise.all(Array.from({ length: REGISTERING_AT_ONCE }, connectNext))
  terminal.progressDone()
  if (!ended.aborted)
    terminal.print(
      counted(size, 'charge point is registered and has logged in', 'charge points are registered and have logged in'),
    )
}

function createNarration(terminal: Terminal): Narrator & { progress(seconds: number): void } {
  const answers = new Map<number, number>()
  return {
    tell(line, kind) {
      terminal.progressDone()
      const time = new Date().toISOString().slice(11, 19)
      const text = `${time}  ${escapeUnprintable(line)}`
      terminal.print(kind === 'attack' ? terminal.paint('red', text) : text)
    },
    count({ status }) {
      answers.set(status, (answers.get(status) ?? 0) + 1)
    },
    progress(seconds) {
      const counts = [...answers].sort(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`)
      terminal.progress(`${seconds} s  answers ${counts.join('  ')}`)
    },
  }
}

interface Episode {
  readonly reason_code: string
  readonly who: string
  readonly ip: string
  readonly event_ids: readonly number[]
}

/** Asked over HTTP, as anybody would. */
async function printOutcome(api: Api, startedAt: Date, terminal: Terminal): Promise<void> {
  const summary = await api.operate('GET', `/audit/summary?start_time=${startedAt.toISOString()}`)
  const incidents = await api.operate('GET', '/audit/incidents')
  const byAction = Object.entries((summary.body.by_action ?? {}) as Record<string, number>)
  terminal.print()
  terminal.print(terminal.paint('bold', `End of the simulation: ${counted(Number(summary.body.total), 'audit event')}`))
  printTable(
    terminal,
    [{ title: 'action' }, { title: 'events', align: 'right' }],
    byAction.map(([action, count]) => [action, String(count)]),
  )
  const episodes = (incidents.body.episodes ?? []) as Episode[]
  terminal.print()
  terminal.print(`The incidents belong to ${episodes.length} episodes; an attack that goes on is reported again:`)
  printTable(
    terminal,
    [{ title: 'episode' }, { title: 'who' }, { title: 'address' }, { title: 'incidents', align: 'right' }],
    episodes.map(({ reason_code, who, ip, event_ids }) => [reason_code, who, ip, String(event_ids.length)]),
  )
}
