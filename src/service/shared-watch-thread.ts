/**
 * Entry of the thread that reads a trail in PostgreSQL again (shared-watch.ts): a piece, then a rest, in which it has spent its share of
 * a core. The server works while this waits, so both together have no more than the share. Ends with what it finds, and with any error.
 */
import { setTimeout } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { letOthersFirst } from '../threads/priority.ts'
import { openPieceChecker } from '../verify/sources/postgres-piece.ts'
import type { WatchMessage, WatchThreadData } from './shared-watch.ts'

/** Between two rounds: a small log is not read more often than this. */
const ROUND_MS_MIN = 1_000

const { url, percent, place, tamperedId } = workerData as WatchThreadData
letOthersFirst()
await using pieces = await openPieceChecker(url)
if (await isMended()) await goRound()

/** False: it is still changed, or something near it. */
async function isMended(): Promise<boolean> {
  if (tamperedId === undefined) return true
  const { changed } = await pieces.check(Math.floor((tamperedId - 1) / TILE_WIDTH))
  say(changed === undefined ? { kind: 'mended' } : { kind: 'tampered', found: changed })
  return changed === undefined
}

async function goRound(): Promise<void> {
  let { bundle, rounds } = place
  for (;;) {
    const startedAt = performance.now()
    const { changed, next } = await pieces.check(bundle)
    if (changed !== undefined) return say({ kind: 'tampered', found: changed })
    if (next === undefined) rounds++
    bundle = next ?? 0
    say({ kind: 'at', place: { bundle, rounds } })
    const rest = (performance.now() - startedAt) * (100 / percent - 1)
    await setTimeout(next === undefined ? Math.max(rest, ROUND_MS_MIN) : rest)
  }
}

function say(message: WatchMessage): void {
  parentPort?.postMessage(message)
}
