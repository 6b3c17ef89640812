/**
 * One thing in a signed log in PostgreSQL is changed, as somebody would who may do everything there but has no key: the verifier
 * must see it, call it what it is, and name the first event that it is about. What there is: mutations/postgres.ts, and
 * mutations/postgres-archived.ts for a log of which some has left.
 *
 * Each is applied to a copy of a log that two instances wrote and signed. Seeded: a failure prints how to replay it.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { archiveSegments } from '../../src/archive/archive.ts'
import { verifyPath } from '../../src/verify/sources/verify-path.ts'
import type { PostgresServer } from '../harness/postgres.ts'
import { createSignedPostgres } from '../harness/signed-postgres.ts'
import { POSTGRES_MUTATIONS } from './mutations/postgres.ts'
import { ARCHIVED } from './mutations/postgres-archived.ts'
import { assertFound, type Outcome } from './outcome.ts'
import { createRandom, type Random } from './random.ts'

export interface PostgresGround {
  readonly url: string
  readonly key: string
  readonly size: number
  readonly signedSize: number
  readonly erased: readonly number[]
  readonly tombstone: number
  /** A copy of an earlier state, and the newest checkpoint. */
  readonly older: string
  readonly newest: string
}

export interface PostgresPlace {
  readonly ground: PostgresGround
  readonly random: Random
  /** SQL of whoever owns the server. */
  run(sql: string, values?: unknown[]): Promise<Record<string, unknown>[]>
}

export interface PostgresExpected extends Outcome {
  /** What is looked at instead of the copy. */
  readonly url?: string
}

export type PostgresMutation = (place: PostgresPlace) => Promise<PostgresExpected>

/** Ids of a partition: few, so that there are several. */
const PARTITION_IDS = 1_024
/** So that a seed does not stand for one place in all mutations. */
const SEEDS_APART = 10_000

export interface PostgresGrounds {
  readonly whole: readonly PostgresGround[]
  readonly archived: PostgresGround
}

export async function makePostgresGrounds(server: PostgresServer): Promise<PostgresGrounds> {
  const shapes = [
    { events: 2_300, erased: [7, 300, 1_500, 2_100], unsigned: 0 },
    { events: 1_279, erased: [2, 1_030], unsigned: 150 },
  ]
  const grounds: PostgresGround[] = []
  for (const { events, erased, unsigned } of shapes) {
    await using log = await createSignedPostgres(server)
    await log.append(0) // makes the tables
    await log.run(`UPDATE event_layout SET partition_ids = ${PARTITION_IDS}`)
    const half = Math.ceil(events / 2)
    await log.append(half)
    await log.sign(0)
    await log.append(events - half - 100, { instance: 1 })
    await log.sign(1)
    const older = await log.copy()
    await log.append(100)
    const tombstone = await log.erase(erased)
    const newest = await log.sign(1)
    if (unsigned > 0) await log.append(unsigned, { instance: 1 })
    const [url, key] = [await log.copy(), log.key()]
    grounds.push({ url, key, size: tombstone + unsigned, signedSize: tombstone, erased, tombstone, older, newest })
  }
  return { whole: grounds, archived: await makeArchivedGround(server) }
}

/** The oldest two of its three partitions have left; something was erased in each before. */
async function makeArchivedGround(server: PostgresServer): Promise<PostgresGround> {
  await using log = await createSignedPostgres(server)
  await log.append(0) // makes the tables
  await log.run(`UPDATE event_layout SET partition_ids = ${PARTITION_IDS}`)
  await log.append(1_400)
  const older = await log.copy()
  await log.append(1_000, { instance: 1 })
  const erased = [7, 1_500, 2_200]
  const tombstone = await log.erase(erased)
  await log.sign()
  const directory = mkdtempSync(join(tmpdir(), 'evc-archives-'))
  await archive(log.url, directory, 0)
  rmSync(directory, { recursive: true })
  await log.append(900)
  const newest = await log.sign(1)
  const size = Number((await log.run('SELECT size FROM log_head'))[0]?.size)
  return { url: await log.copy(), key: log.key(), size, signedSize: size, erased, tombstone, older, newest }
}

const MUTATIONS = { ...POSTGRES_MUTATIONS, ...ARCHIVED }

export const POSTGRES_MUTATION_NAMES = Object.keys(MUTATIONS)

export async function runPostgresMutation(
  server: PostgresServer,
  { whole, archived }: PostgresGrounds,
  { name, seed }: { name: string; seed: number },
): Promise<void> {
  const random = createRandom(seed + SEEDS_APART * POSTGRES_MUTATION_NAMES.indexOf(name))
  const ground = name in ARCHIVED ? archived : random.pick(whole)
  const url = await server.copyDatabase(ground.url)
  try {
    const run = (sql: string, values?: unknown[]) => server.run(url, sql, values)
    const expected = await MUTATIONS[name]!({ ground, random, run })
    const trust = { key: ground.key, trusted: expected.trusted }
    assertFound(await verifyPath(expected.url ?? url, trust, { workers: 0 }), expected)
  } catch (cause) {
    const replay = `npm run torture -- postgres --mutation '${name}' --seed ${seed}`
    throw new Error(`${name}, seed ${seed}: ${(cause as Error).message}\nreplay: ${replay}`, { cause })
  } finally {
    await server.dropDatabase(url)
  }
}

/**
 * A log that two instances wrote at once, now one signing and now the other, of a size by chance, whose oldest partitions may have left:
 * no finding.
 */
export async function runPristinePostgres(server: PostgresServer, seed: number): Promise<void> {
  const random = createRandom(seed)
  await using log = await createSignedPostgres(server)
  await log.append(0) // makes the tables
  await log.run(`UPDATE event_layout SET partition_ids = ${PARTITION_IDS}`)
  const directory = mkdtempSync(join(tmpdir(), 'evc-archives-'))
  const told = new Set<number>()
  let left = 0
  const write = async (instance: number) => {
    let last = 0
    for (let n = random.between(1, 3); n > 0; n--) last = await log.append(random.between(1, 300), { instance })
    return last
  }
  try {
    for (let round = random.between(1, 4); round > 0; round--) {
      const size = Math.min(...(await Promise.all([write(0), write(1)])))
      const ids = Array.from({ length: random.between(0, 3) }, () => random.between(1, size)).filter(
        id => id > left && !told.has(id),
      )
      if (ids.length > 0) told.add(await log.erase([...new Set(ids)]))
      for (const id of ids) told.add(id)
      if (random.chance(0.7)) await log.sign(random.between(0, 1))
      if (random.chance(0.5)) left = await archive(log.url, directory, left)
    }
    await log.sign(random.between(0, 1))
    if (random.chance(0.5)) await log.append(random.between(1, 300))
    const report = await verifyPath(log.url, { key: log.key() }, { workers: 0 })
    assert.equal(report.verdict, 'PRISTINE', report.sentence)
  } catch (cause) {
    const replay = `npm run torture -- postgres --pristine --seed ${seed}`
    throw new Error(`pristine, seed ${seed}: ${(cause as Error).message}\nreplay: ${replay}`, { cause })
  } finally {
    await log.close()
    await server.dropDatabase(log.url)
    rmSync(directory, { recursive: true })
  }
}

/** All that is sealed and signed. @returns the last id that has left */
async function archive(url: string, directory: string, left: number): Promise<number> {
  const options = { beforeMs: Date.UTC(2036, 0, 1), actor: 'test', signatureMs: 0 }
  const { archived } = await archiveSegments({ store: { kind: 'postgres', url }, directory, ...options })
  return archived.at(-1)?.last_id ?? left
}
