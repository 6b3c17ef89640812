/**
 * Does the time of a refused login tell whether the id exists? Run by hand: `node test/statistics/login-timing.ts`, and with
 * `--postgres` over PostgreSQL behind the copy in memory.
 *
 * Times refused logins of an unknown id, a known one with a generated secret and a known one with a chosen secret, in
 * random order, each attempt from an address of its own so that no throttle comes in. Compares each pair of kinds with
 * the Mann-Whitney U test (it asks for a shift, whatever the distribution). A shift counts if it is significant (|z| > 3.29, p < 0.001) and
 * larger than 5 microseconds, below anything that can be seen across a network. Exit code 1 if one is found.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createContext, runInContext } from '../../src/context/context.ts'
import { createPostgres } from '../../src/postgres/postgres.ts'
import { openCachedState } from '../../src/security/cached-state.ts'
import { createSecurity, type SecurityService } from '../../src/security/create-security.ts'
import { createPostgresFeed } from '../../src/security/postgres-feed.ts'
import { openPostgresSecurityState } from '../../src/security/postgres-security-state.ts'
import type { SecurityState } from '../../src/security/security-state.ts'
import { createSqliteSecurityState } from '../../src/security/sqlite-security-state.ts'
import { startPostgres } from '../harness/postgres.ts'
import { auditOver, LOGGER, memoryJournal, OPERATOR, SECRETS, SETTINGS } from '../unit/security/security-under-test.ts'

const Z_MAX = 3.29
const SHIFT_MICROSECONDS_MAX = 5
const WRONG = '0'.repeat(64)

interface Sample {
  readonly kind: string
  readonly microseconds: number
}

let attempts = 0

async function timeRefusal(security: SecurityService, cpId: string): Promise<number> {
  attempts++
  const ip = `10.${(attempts >> 16) & 255}.${(attempts >> 8) & 255}.${attempts & 255}`
  return runInContext(createContext({ ip }), async () => {
    const start = process.hrtime.bigint()
    await security.authentication.byCredentials(cpId, WRONG).then(
      () => {
        throw new Error('the wrong secret was right')
      },
      () => {},
    )
    return Number(process.hrtime.bigint() - start) / 1000
  })
}

/** `fleet` ids of each kind, so that no single one reaches the limit across addresses. */
async function sample(security: SecurityService, kinds: readonly string[], rounds: number, fleet: number) {
  const samples: Sample[] = []
  for (let round = -Math.ceil(rounds / 5); round < rounds; round++) {
    const order = kinds.map(kind => ({ kind, at: Math.random() })).sort((a, b) => a.at - b.at)
    for (const { kind } of order) {
      const microseconds = await timeRefusal(security, `${kind}-${Math.abs(round) % fleet}`)
      if (round >= 0) samples.push({ kind, microseconds }) // the first rounds warm up
    }
  }
  return samples
}

async function openCopy(url: string): Promise<SecurityState> {
  const plain = await openPostgresSecurityState({ postgres: createPostgres({ url }), instance: 'one' })
  return openCachedState({
    state: plain,
    feed: createPostgresFeed(createPostgres({ url, connectionsMax: 1 })),
    trustMs: 60_000,
    logger: LOGGER,
  })
}

const of = (samples: readonly Sample[], kind: string) =>
  samples
    .filter(sampled => sampled.kind === kind)
    .map(({ microseconds }) => microseconds)
    .sort((a, b) => a - b)
const median = (sorted: readonly number[]) => sorted[Math.floor(sorted.length / 2)] ?? 0

/** z of the Mann-Whitney U statistic, normal approximation; ties are too rare here to correct for. */
function mannWhitneyZ(a: readonly number[], b: readonly number[]): number {
  const ranked = [...a.map(value => ({ value, isA: true })), ...b.map(value => ({ value, isA: false }))]
  ranked.sort((x, y) => x.value - y.value)
  let rankSum = 0
  for (const [i, { isA }] of ranked.entries()) if (isA) rankSum += i + 1
  const u = rankSum - (a.length * (a.length + 1)) / 2
  const mean = (a.length * b.length) / 2
  return (u - mean) / Math.sqrt((a.length * b.length * (a.length + b.length + 1)) / 12)
}

function judge(title: string, samples: readonly Sample[], kinds: readonly string[]): boolean {
  console.log(`\n${title}`)
  for (const kind of kinds) console.log(`  ${kind.padEnd(10)} median ${median(of(samples, kind)).toFixed(1)} us`)
  let isFound = false
  for (const [i, first] of kinds.entries()) {
    for (const second of kinds.slice(i + 1)) {
      const [a, b] = [of(samples, first), of(samples, second)]
      const z = mannWhitneyZ(a, b)
      const shift = median(a) - median(b)
      const isTold = Math.abs(z) > Z_MAX && Math.abs(shift) > SHIFT_MICROSECONDS_MAX
      isFound ||= isTold
      const verdict = isTold ? 'CAN BE TOLD APART' : 'cannot be told apart'
      console.log(`  ${first} / ${second}: z = ${z.toFixed(2)}, shift ${shift.toFixed(1)} us: ${verdict}`)
    }
  }
  return isFound
}

const folder = mkdtempSync(join(tmpdir(), 'evc-timing-'))
const server = process.argv.includes('--postgres') ? startPostgres() : undefined
const state =
  server === undefined
    ? createSqliteSecurityState({ path: join(folder, 'security.db') })
    : await openCopy(await server.createDatabase())
const settings = { ...SETTINGS, bruteForceThreshold: 100 }
const audit = auditOver(memoryJournal(), settings)
const security = await createSecurity({ state, audit, secrets: SECRETS, settings, logger: LOGGER })
for (let i = 0; i < 100; i++) await security.chargePoints.register({ cp_id: `generated-${i}` }, OPERATOR)
const cheap = await sample(security, ['unknown', 'generated'], 20_000, 100)
let isFound = judge('No chosen secret in the deployment (no scrypt)', cheap, ['unknown', 'generated'])

for (let i = 0; i < 4; i++) {
  await security.chargePoints.register({ cp_id: `chosen-${i}`, credentials: `a chosen secret ${i}` }, OPERATOR)
}
const kinds = ['unknown', 'generated', 'chosen']
isFound = judge('With chosen secrets (one scrypt each)', await sample(security, kinds, 200, 4), kinds) || isFound
await security.close()
await state.close()
await server?.stop()
rmSync(folder, { recursive: true })
process.exitCode = isFound ? 1 : 0
