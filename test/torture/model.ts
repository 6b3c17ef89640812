/**
 * The model: random steps of appending, confirming, indexing, checkpointing and trimming, with faults of disk and store,
 * crashes and clock steps between any two of them. One seed is one run, the same on every machine.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { createRandom, type Random } from './random.ts'
import { takeTimers } from './virtual-timers.ts'
import { createWorld, type World } from './world.ts'

const HOUR_MS = 3_600_000

export interface ModelRun {
  readonly seed: number
  readonly steps: number
  readonly records: number
  readonly crashes: number
  readonly faults: number
}

/** @throws when something that was promised does not hold; the message says how to run the seed again */
export async function runModel(seed: number): Promise<ModelRun> {
  const random = createRandom(seed)
  const taken: string[] = []
  using timers = takeTimers()
  let world: World | undefined
  const run = { seed, steps: random.between(10, 60), records: 0, crashes: 0, faults: 0 }
  try {
    world = await createWorld({
      random,
      timers,
      segmentBytesMax: random.pick([600, 4_000, 20_000, 1_000_000]),
      queueBytesMax: random.pick([2_000, 100_000, 32_000_000]),
    })
    const scene = { world, random, run, hasDamage: random.chance(0.15), hasBursts: random.chance(0.08) }
    for (let n = 0; n < run.steps; n++) {
      const name = pickStep(random)
      taken.push(name)
      await STEPS[name]?.take(scene)
    }
    taken.push('end')
    await end(scene)
    return run
  } catch (cause) {
    const replay = `npm run torture -- model --seed ${seed}`
    throw new Error(`seed ${seed}: ${(cause as Error).message}\nafter ${taken.join(', ')}\nreplay: ${replay}`, {
      cause,
    })
  } finally {
    world?.remove()
  }
}

interface Scene {
  readonly world: World
  readonly random: Random
  readonly run: { records: number; crashes: number; faults: number }
  readonly hasDamage: boolean
  readonly hasBursts: boolean
}

interface Step {
  readonly weight: number
  take(scene: Scene): void | Promise<void>
}

const STEPS: Record<string, Step> = {
  append: {
    weight: 30,
    take({ world, random, run, hasDamage }) {
      const count = random.between(1, 8)
      run.records += count
      world.append(count, hasDamage ? 0 : 0.2, random.chance(0.05) ? 20_000 : 80)
    },
  },
  burst: {
    weight: 4,
    take({ world, random, run, hasBursts }) {
      if (!hasBursts) return
      run.records += 600
      world.append(600, 0, random.between(0, 20))
    },
  },
  again: {
    weight: 6,
    take({ world }) {
      world.appendAgain()
    },
  },
  goOn: {
    weight: 30,
    take: ({ world, random }) => world.goOn(random.between(0, 8), random.pick([0, 0, 1, 10, 60, 1_000])),
  },
  allDurable: { weight: 10, take: ({ world }) => world.allDurable() },
  index: { weight: 22, take: ({ world, random }) => world.index(random.pick([0.3, 0.7, 0.95, 1, 1, 1])) },
  checkpoint: { weight: 7, take: ({ world }) => checkpoint(world) },
  reader: {
    weight: 3,
    take({ world }) {
      world.toggleReader()
    },
  },
  diskFails: {
    weight: 8,
    take({ world, random, run }) {
      run.faults++
      const kind = random.pick(['before', 'after', 'half', 'short'] as const)
      world.breakDisk(random.pick([1, 1, 2, 5, 12]), { kind, code: random.pick(['EIO', 'ENOSPC'] as const) })
    },
  },
  storeFails: {
    weight: 6,
    take({ world, random, run }) {
      if (!existsSync(world.folder().auditDatabase)) return
      run.faults++
      world.breakStore(random.pick(['row', 'position', 'answer lost'] as const))
    },
  },
  storeWorks: {
    weight: 5,
    take({ world }) {
      world.mendStore()
    },
  },
  storeLocked: {
    weight: 0.01,
    async take({ world, run }) {
      if (!existsSync(world.folder().auditDatabase)) return
      run.faults++
      await world.lockedOut()
    },
  },
  clock: {
    weight: 3,
    take({ world, random }) {
      world.moveClock(random.pick([-HOUR_MS, HOUR_MS, 10 * 365 * 24 * HOUR_MS, -1]))
    },
  },
  kill: { weight: 6, take: scene => crash(scene, 'kill') },
  powerCut: { weight: 6, take: scene => crash(scene, 'power cut') },
  restart: {
    weight: 3,
    async take({ world, hasDamage }) {
      await world.close()
      assertSound(world, false)
      if (hasDamage) world.damage()
      await world.open()
      world.compareRows()
    },
  },
}

const TOTAL_WEIGHT = Object.values(STEPS).reduce((sum, step) => sum + step.weight, 0)

function pickStep(random: Random): string {
  let left = random.next() * TOTAL_WEIGHT
  for (const [name, { weight }] of Object.entries(STEPS)) {
    left -= weight
    if (left < 0) return name
  }
  return 'append'
}

async function checkpoint(world: World): Promise<void> {
  await world.checkpoint().catch(error => assert.equal(error.code, 'UNAVAILABLE'))
}

async function crash({ world, random, run, hasDamage }: Scene, kind: 'kill' | 'power cut'): Promise<void> {
  run.crashes++
  const { problems } = await world.crash(kind)
  assertNone(problems, kind === 'power cut')
  if (hasDamage && random.chance(0.5)) world.damage()
  await world.open()
  world.compareRows()
}

async function end(scene: Scene): Promise<void> {
  const { world } = scene
  world.disk.fault = () => undefined
  world.append(1, 0, 0) // a loss at the very end is declared when something comes behind it
  await world.allDurable()
  await world.indexAll()
  world.compareRows()
  assertSound(world, false)
  await world.close()
  assertSound(world, false)
}

function assertSound(world: World, isAfterPowerCut: boolean): void {
  assertNone(world.check().problems, isAfterPowerCut)
}

/** After a power cut bytes may be wrong that nobody was told of: the next opening reports and declares them. */
function assertNone(problems: readonly string[], isAfterPowerCut: boolean): void {
  const unexpected = problems.filter(problem => !(isAfterPowerCut && /cannot be read at byte/.test(problem)))
  assert.deepEqual(unexpected, [])
}
