/**
 * The clock watch: a wall clock that jumps is put on record, as whoever reads dates has to know.
 *
 * Once a second it compares how far wall time and the time since the machine was started have moved. More than five seconds
 * of difference is a jump: SYSTEM / CLOCK_JUMPED with its size and both times. A clock that is brought in line slowly is
 * no jump, and neither is a machine that slept, since its uptime counts on meanwhile. Changes nothing: order is by
 * id, and windows are measured by the monotonic clock.
 */
import { uptime } from 'node:os'
import type { Audit } from '../audit/audit.ts'
import type { AuditLogger } from '../audit/audit-service.ts'
import { createContext } from '../context/context.ts'

const LOOK_MS = 1_000
const TOLERANCE_MS = 5_000

export interface ClockWatch extends Disposable {
  /** Compares now; done by itself every second. */
  look(): void
}

export function watchClock(deps: {
  audit: Pick<Audit, 'system'>
  logger: Pick<AuditLogger, 'warn'>
  wallMs?: () => number
  /** Time that passes, also while the machine sleeps. */
  elapsedMs?: () => number
}): ClockWatch {
  const { audit, logger, wallMs = () => Date.now(), elapsedMs = () => uptime() * 1000 } = deps
  let wallBefore = wallMs()
  let elapsedBefore = elapsedMs()
  const timer = setInterval(look, LOOK_MS)
  timer.unref()

  function look(): void {
    const wall = wallMs()
    const elapsed = elapsedMs()
    const expected = wallBefore + (elapsed - elapsedBefore)
    wallBefore = wall
    elapsedBefore = elapsed
    const jumpMs = Math.round(wall - expected)
    if (Math.abs(jumpMs) <= TOLERANCE_MS) return
    const metadata = {
      jump_seconds: Math.round(jumpMs / 100) / 10,
      expected_time: timeOf(expected),
      found_time: timeOf(wall),
    }
    const direction = jumpMs < 0 ? 'back' : 'forward'
    const description = `The clock jumped ${direction} by ${Math.abs(metadata.jump_seconds)} s, from ${metadata.expected_time} to ${metadata.found_time}`
    logger.warn(metadata, 'the clock jumped')
    audit.system('CLOCK_JUMPED', createContext(), { description, metadata })
  }

  return { look, [Symbol.dispose]: () => clearInterval(timer) }
}

const timeOf = (ms: number) => new Date(Math.round(ms)).toISOString()
