/**
 * One scripted run of journal, indexer and store, in which one operation of the journal's disk fails, or is the last one of its
 * process: each in turn, in each way. Afterwards everything that was promised is checked, as in the model.
 */
import assert from 'node:assert/strict'
import { createRandom } from './random.ts'
import { takeTimers } from './virtual-timers.ts'
import { createWorld, Ended, type World } from './world.ts'

export const FAULTS = [
  'EIO before',
  'EIO after',
  'ENOSPC before',
  'ENOSPC half',
  'short write',
  'kill',
  'power cut',
] as const
export type OperationFault = (typeof FAULTS)[number]

/** @returns the names of the operations that there were */
export async function runWithFault(at: number, kind: OperationFault | undefined): Promise<readonly string[]> {
  const random = createRandom(at + 1)
  using timers = takeTimers()
  let world: World | undefined
  let hasEnded = false
  try {
    const made = await createWorld({
      random,
      timers,
      segmentBytesMax: 1_500,
      queueBytesMax: 1_000_000,
      endsAt(number) {
        if (hasEnded || number !== at || (kind !== 'kill' && kind !== 'power cut')) return undefined
        hasEnded = true
        return kind
      },
      fault: number => (number === at ? faultOf(kind) : undefined),
    })
    world = made
    await run(made).catch(async error => {
      if (!(error instanceof Ended)) throw error
      await crash(made, kind === 'power cut' ? kind : 'kill')
      await run(made)
    })
    return made.disk.operations
  } catch (cause) {
    const replay = `npm run torture -- operations --at ${at} --fault '${kind}'`
    const what = `${world?.disk.operations[at]} (${at}), ${kind}: ${(cause as Error).message}`
    throw new Error(`${what}\nreplay: ${replay}`, { cause })
  } finally {
    world?.remove()
  }
}

function faultOf(kind: OperationFault | undefined): ReturnType<World['disk']['fault']> {
  if (kind === 'EIO before') return { kind: 'before', code: 'EIO' }
  if (kind === 'EIO after') return { kind: 'after', code: 'EIO' }
  if (kind === 'ENOSPC before') return { kind: 'before', code: 'ENOSPC' }
  if (kind === 'ENOSPC half') return { kind: 'half', code: 'ENOSPC' }
  if (kind === 'short write') return { kind: 'short', code: 'EIO' }
  return undefined
}

/** Several segments, trims, a restart, a crash with records that are not durable, and the end. */
async function run(world: World): Promise<void> {
  for (let round = 0; round < 3; round++) {
    world.append(7, 0.2, 40)
    await world.allDurable()
    await world.index(0.7)
    world.append(3, 0, 40)
    world.appendAgain()
    await world.goOn(2, 1)
    await world.indexAll()
    await world.checkpoint()
  }
  await world.close()
  assert.deepEqual(world.check().problems, [])
  await world.open()
  world.append(4, 0.5, 40)
  await world.goOn(1, 1)
  await crash(world, 'power cut')
  world.append(4, 0, 40)
  await world.allDurable()
  await world.indexAll()
  world.compareRows()
  await world.close()
  assert.deepEqual(world.check().problems, [])
}

async function crash(world: World, kind: 'kill' | 'power cut'): Promise<void> {
  const { problems } = await world.crash(kind)
  const unexpected = problems.filter(problem => !(kind === 'power cut' && /cannot be read at byte/.test(problem)))
  assert.deepEqual(unexpected, [])
  await world.open()
  world.compareRows()
}
