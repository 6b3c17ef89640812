/**
 * `npm run torture`: the fault harness at length. `npm test` has its short forms.
 *
 *   npm run torture                                   everything: more than an hour
 *   npm run torture -- model                          10,000 seeds; --seeds N, --from N; --seed N runs that one
 *   npm run torture -- operations                     every operation of the journal's disk fails, in each way
 *   npm run torture -- system-calls                   every system call of a process fails (needs strace); --call NAME
 *   npm run torture -- database                       every damage of the event database's files
 *   npm run torture -- log                            mutations of signed logs, and pristine ones; --seeds N of each (40)
 *   npm run torture -- postgres                       mutations of signed logs in PostgreSQL, and pristine ones; --seeds N of each (10)
 *   npm run torture -- kill                           1,000 kills of the service under load; --cycles N
 *   npm run torture -- instances                      two instances on one PostgreSQL: 20 restarts, 200 ended sessions, 20 kills, a stop of
 *                                                     60 s, a cut of 30 s, a failover; --rounds N
 *
 * A failure prints how to replay it; the others go on. Ends with a table of counts and the line `N runs, N failed`.
 */
import { parseArgs } from 'node:util'
import { startPostgres } from '../test/harness/postgres.ts'
import { DAMAGES, type DatabaseDamage, runDatabaseDamage } from '../test/torture/database-damage.ts'
import { FAULTS, type OperationFault, runWithFault } from '../test/torture/every-operation.ts'
import { killUnderLoad } from '../test/torture/kill-under-load.ts'
import { MUTATIONS, removeGrounds, runLogMutation, runPristineLog } from '../test/torture/log-mutations.ts'
import { runModel } from '../test/torture/model.ts'
import { runPostgresFaults } from '../test/torture/postgres-faults.ts'
import {
  makePostgresGrounds,
  POSTGRES_MUTATION_NAMES,
  runPostgresMutation,
  runPristinePostgres,
} from '../test/torture/postgres-mutations.ts'
import {
  CALLS,
  type Call,
  countCalls,
  EFFECTS,
  type Effect,
  runWithSystemCallFault,
  whyNoStrace,
} from '../test/torture/system-calls.ts'

const OPTIONS = {
  seed: { type: 'string' },
  seeds: { type: 'string' },
  from: { type: 'string', default: '1' },
  at: { type: 'string' },
  fault: { type: 'string' },
  call: { type: 'string' },
  number: { type: 'string' },
  effect: { type: 'string' },
  damage: { type: 'string' },
  mutation: { type: 'string' },
  pristine: { type: 'boolean' },
  cycles: { type: 'string', default: '1000' },
  rounds: { type: 'string', default: '1' },
} as const

interface Line {
  readonly part: string
  runs: number
  failed: number
  /** What there was besides, by name. */
  readonly counts: Record<string, number>
  readonly startedMs: number
}

const PARTS: Record<string, (line: Line) => Promise<void>> = {
  model,
  operations,
  'system-calls': systemCalls,
  database,
  log,
  postgres,
  kill,
  instances,
}
const FAILURES_SHOWN = 10

const { values, parts } = readArguments()
const lines: Line[] = []
for (const [part, run] of parts) {
  const line: Line = { part, runs: 0, failed: 0, counts: {}, startedMs: performance.now() }
  await run(line)
  console.log(describe(line))
  lines.push(line)
}
console.log('')
for (const line of lines) console.log(describe(line))
const [runs, failed] = [sum(line => line.runs), sum(line => line.failed)]
console.log(`${runs} runs, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

/** The parts that were asked for, all without any. Ends the process where there is no such thing. */
function readArguments() {
  try {
    const { values, positionals } = parseArgs({ allowPositionals: true, options: OPTIONS })
    const unknown = positionals.filter(part => !Object.hasOwn(PARTS, part))
    if (unknown.length > 0) throw new Error(`There is no part ${unknown.join(', ')}.`)
    const parts = Object.entries(PARTS).filter(([part]) => positionals.length === 0 || positionals.includes(part))
    return { values, parts }
  } catch (error) {
    console.error(
      `${(error as Error).message}\nParts: ${Object.keys(PARTS).join(', ')}; what they take, scripts/torture.ts says.`,
    )
    process.exit(2)
  }
}

async function model(line: Line): Promise<void> {
  const from = Number(values.seed ?? values.from)
  const through = values.seed === undefined ? from + Number(values.seeds ?? 10_000) - 1 : from
  for (let seed = from; seed <= through; seed++) {
    await attempt(line, async () => {
      const { steps, records, crashes, faults } = await runModel(seed)
      add(line, { steps, records, crashes, faults })
    })
    progress(line, through - from + 1)
  }
}

async function operations(line: Line): Promise<void> {
  if (values.at !== undefined) {
    await attempt(line, () => runWithFault(Number(values.at), values.fault as OperationFault))
    return
  }
  const { length } = await runWithFault(-1, undefined)
  for (let at = 0; at < length; at++) {
    for (const fault of FAULTS) {
      await attempt(line, () => runWithFault(at, fault))
      progress(line, length * FAULTS.length)
    }
  }
  add(line, { operations: length })
}

async function systemCalls(line: Line): Promise<void> {
  const why = whyNoStrace()
  if (why !== undefined) {
    console.log(`system-calls: left out, ${why}`)
    return
  }
  if (values.number !== undefined) {
    const fault = { call: values.call as Call, number: Number(values.number), effect: values.effect as Effect }
    await attempt(line, () => runWithSystemCallFault(fault))
    return
  }
  const all = await countCalls()
  const counts = new Map([...all].filter(([call]) => values.call === undefined || call === values.call))
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0) * EFFECTS.length
  for (const call of CALLS) {
    for (let number = 1; number <= (counts.get(call) ?? 0); number++) {
      for (const effect of EFFECTS) {
        await attempt(line, async () => {
          if (await runWithSystemCallFault({ call, number, effect })) add(line, { injected: 1 })
        })
        progress(line, total)
      }
    }
  }
}

async function database(line: Line): Promise<void> {
  const chosen = values.damage === undefined ? DAMAGES : [values.damage as DatabaseDamage]
  const seeds = values.seed === undefined ? upTo(40) : [Number(values.seed)]
  for (const damage of chosen) {
    for (const seed of seeds) {
      await attempt(line, async () => add(line, { [await runDatabaseDamage(damage, seed)]: 1 }))
      progress(line, chosen.length * seeds.length)
    }
  }
}

/** Every mutation with each seed, and a hundred logs that nobody changed. */
async function log(line: Line): Promise<void> {
  const seeds = values.seed === undefined ? upTo(Number(values.seeds ?? 40)) : [Number(values.seed)]
  const names = values.pristine ? [] : values.mutation === undefined ? Object.keys(MUTATIONS) : [values.mutation]
  const pristine = values.mutation !== undefined ? [] : values.seed === undefined ? upTo(100) : seeds
  const total = names.length * seeds.length + pristine.length
  for (const name of names) {
    for (const seed of seeds) {
      await attempt(line, async () => {
        await runLogMutation(name, seed)
        add(line, { detected: 1 })
      })
      progress(line, total)
    }
  }
  for (const seed of pristine) {
    await attempt(line, async () => {
      await runPristineLog(seed)
      add(line, { pristine: 1 })
    })
    progress(line, total)
  }
  await removeGrounds()
}

/** As `log`, for a log in PostgreSQL; of the pristine ones 50. */
async function postgres(line: Line): Promise<void> {
  const server = startPostgres()
  const seeds = values.seed === undefined ? upTo(Number(values.seeds ?? 10)) : [Number(values.seed)]
  const names = values.pristine ? [] : values.mutation === undefined ? POSTGRES_MUTATION_NAMES : [values.mutation]
  const pristine = values.mutation !== undefined ? [] : values.seed === undefined ? upTo(50) : seeds
  try {
    const grounds = names.length === 0 ? undefined : await makePostgresGrounds(server)
    for (const name of names) {
      for (const seed of seeds) {
        await attempt(line, async () => {
          await runPostgresMutation(server, grounds!, { name, seed })
          add(line, { detected: 1 })
        })
        progress(line, names.length * seeds.length + pristine.length)
      }
    }
    for (const seed of pristine) {
      await attempt(line, async () => {
        await runPristinePostgres(server, seed)
        add(line, { pristine: 1 })
      })
      progress(line, names.length * seeds.length + pristine.length)
    }
  } finally {
    await server.stop()
  }
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n + 1)
}

async function kill(line: Line): Promise<void> {
  const cycles = Number(values.cycles)
  await attempt(line, async () => {
    const { answered } = await killUnderLoad({ cycles, checkEvery: 10, onCycle: done => progress(line, cycles, done) })
    add(line, { kills: cycles, answered, lost: 0, doubled: 0 })
  })
}

async function instances(line: Line): Promise<void> {
  const faults = { restarts: 20, terminations: 200, kills: 20 }
  const total = Number(values.rounds) * (faults.restarts + faults.terminations + faults.kills)
  const server = startPostgres()
  try {
    for (let round = 0; round < Number(values.rounds); round++) {
      await attempt(line, async () => {
        const seen = await runPostgresFaults(server, { ...faults, onCycle: done => progress(line, total, done) })
        add(line, { ...faults, ...seen, lost: 0, doubled: 0 })
      })
      await attempt(line, async () => {
        await runPostgresFaults(server, { restarts: 0, terminations: 0, kills: 0, stopMs: 60_000, cutMs: 30_000 })
        add(line, { stops: 1, cuts: 1 })
      })
      await attempt(line, failOver)
      add(line, { failovers: 1 })
    }
  } finally {
    await server.stop()
  }
}

async function failOver(): Promise<void> {
  const primary = startPostgres()
  try {
    const failOverTo = await primary.addStandby()
    await runPostgresFaults(primary, { restarts: 5, terminations: 20, kills: 2, failOverTo })
  } finally {
    await primary.stop()
  }
}

async function attempt(line: Line, work: () => Promise<unknown>): Promise<void> {
  line.runs++
  try {
    await work()
  } catch (error) {
    line.failed++
    if (line.failed <= FAILURES_SHOWN) console.log(`FAILED ${line.part}: ${(error as Error).message}`)
  }
}

function add(line: Line, counts: Record<string, number>): void {
  for (const [name, count] of Object.entries(counts)) line.counts[name] = (line.counts[name] ?? 0) + count
}

function progress(line: Line, total: number, done = line.runs): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${line.part} ${done} of ${total}, ${line.failed} failed `)
}

function describe({ part, runs, failed, counts, startedMs }: Line): string {
  const seconds = Math.round((performance.now() - startedMs) / 1_000)
  const details = Object.entries(counts).map(([name, count]) => `${count} ${name}`)
  return [
    part.padEnd(12),
    `${runs} runs`.padStart(12),
    `${failed} failed`.padStart(10),
    `${seconds} s`.padStart(7),
    ...details,
  ]
    .join('  ')
    .trimEnd()
}

function sum(count: (line: Line) => number): number {
  return lines.reduce((all, line) => all + count(line), 0)
}
