/**
 * One thing in a signed log is changed, as somebody would who can write every file but has no key: the verifier must see it, call it
 * what it is, and name the first event that it is about.
 *
 *   rows        each of the 14 columns edited, rows deleted, inserted, exchanged, moved up or down, the tail cut off
 *   reaching    an index without an entry, an index that is gone, a segment that is not listed, another view, another chunk
 *   log         salts, commitments, entries, tiles, the head and its edge, erasures
 *   signed      checkpoints, their history, keys
 *   mirror      entries, tiles, files that are gone or cut
 *   archive     rows, salts, bytes, the record of what left; and, where no log is at hand, each part of the proof
 *
 * What is found must be of the mutation's verdicts, and at its place. Seeded: a failure prints how to replay it.
 */
import assert from 'node:assert/strict'
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { verifyPath } from '../../src/verify/sources/verify-path.ts'
import { copyGround, drawShape, type Ground, makeGround, removeGround } from './log-grounds.ts'
import { ARCHIVE_MUTATIONS } from './mutations/archive.ts'
import { ALONE_MUTATIONS } from './mutations/archive-alone.ts'
import { LOG_MUTATIONS } from './mutations/log.ts'
import { MIRROR_MUTATIONS } from './mutations/mirror.ts'
import { REACH_MUTATIONS } from './mutations/reach.ts'
import { ROW_MUTATIONS } from './mutations/rows.ts'
import { SIGNED_MUTATIONS } from './mutations/signed.ts'
import { assertFound, type Outcome } from './outcome.ts'
import { createRandom, type Random } from './random.ts'

export interface Expected extends Outcome {
  /** What is looked at; otherwise the data folder. */
  readonly look?: 'mirror' | 'archive' | 'archive alone'
}

export interface Place {
  readonly path: string
  readonly mirror: string
  readonly ground: Ground
  readonly random: Random
}

/** Undefined when there is nothing of the kind in a log of this shape. */
export type Mutation = (place: Place) => Promise<Expected | undefined> | Expected | undefined

export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  ...ROW_MUTATIONS,
  ...REACH_MUTATIONS,
  ...LOG_MUTATIONS,
  ...SIGNED_MUTATIONS,
  ...MIRROR_MUTATIONS,
  ...ARCHIVE_MUTATIONS,
  ...ALONE_MUTATIONS,
}

const GROUNDS = 12
/** So that a seed does not stand for one log in all mutations. */
const SEEDS_APART = 10_000
const grounds = new Map<number, Promise<Ground>>()

/** The logs that mutations are applied to; the same for each number. The first ones have a bit of everything. */
function groundOf(number: number): Promise<Ground> {
  const known = grounds.get(number)
  if (known !== undefined) return known
  const rich = {
    events: 3_000,
    erased: [7, 300, 1_500, 2_100],
    rotates: true,
    withMlDsa44: number === 1,
    archives: number === 1,
  }
  const shape = number < 3 ? { ...rich, unsigned: number === 2 ? 150 : 0 } : drawShape(createRandom(1_000 + number))
  const made = makeGround(shape)
  grounds.set(number, made)
  return made
}

export async function removeGrounds(): Promise<void> {
  for (const ground of grounds.values()) removeGround(await ground)
  grounds.clear()
}

/** On the first log, from one that the seed says, in which there is something of the kind. */
export async function runLogMutation(name: string, seed: number): Promise<void> {
  const random = createRandom(seed + SEEDS_APART * Object.keys(MUTATIONS).indexOf(name))
  const first = random.between(0, GROUNDS - 1)
  for (let n = 0; n < GROUNDS; n++) {
    const ground = await groundOf((first + n) % GROUNDS)
    if (await mutate({ name, seed, ground, random })) return
  }
  throw new Error(`${name}: no log has anything of the kind`)
}

async function mutate(run: { name: string; seed: number; ground: Ground; random: Random }): Promise<boolean> {
  const { name, seed, ground, random } = run
  const copy = copyGround(ground)
  try {
    const expected = await MUTATIONS[name]!({ ...copy, ground, random })
    if (expected === undefined) return false
    const path = lookedAt(copy, expected)
    const report = await verifyPath(path, { key: ground.log.key, trusted: expected.trusted }, { workers: 0 })
    assertFound(report, expected)
    return true
  } catch (cause) {
    const replay = `npm run torture -- log --mutation '${name}' --seed ${seed}`
    throw new Error(`${name}, seed ${seed}: ${(cause as Error).message}\nreplay: ${replay}`, { cause })
  } finally {
    copy.remove()
  }
}

function lookedAt({ path, mirror }: { path: string; mirror: string }, { look }: Expected): string {
  if (look === undefined) return path
  if (look === 'mirror') return mirror
  if (look === 'archive') return join(path, 'archive')
  const apart = `${path}-apart`
  cpSync(join(path, 'archive'), apart, { recursive: true })
  return apart
}

/** A log of a random shape that nobody changed: no finding, in the data folder and in its mirror. */
export async function runPristineLog(seed: number): Promise<void> {
  const ground = await makeGround(drawShape(createRandom(seed)))
  try {
    const paths = ground.shape.unsigned === 0 ? [ground.log.path, ground.mirror] : [ground.log.path]
    if (ground.shape.archives) {
      paths.push(join(ground.log.path, 'archive'), `${ground.mirror}-apart`)
      cpSync(join(ground.log.path, 'archive'), `${ground.mirror}-apart`, { recursive: true })
    }
    for (const path of paths) {
      const report = await verifyPath(path, { key: ground.log.key }, { workers: 0 })
      assert.equal(report.verdict, 'PRISTINE', `${path}: ${report.sentence}`)
    }
  } catch (cause) {
    const replay = `npm run torture -- log --pristine --seed ${seed}`
    throw new Error(`pristine, seed ${seed}: ${(cause as Error).message}\nreplay: ${replay}`, { cause })
  } finally {
    rmSync(`${ground.mirror}-apart`, { recursive: true, force: true })
    removeGround(ground)
  }
}
