/**
 * Two clocks. Wall time is what events are dated with and tokens expire by; it jumps when somebody sets it. Whatever is
 * measured in memory, windows and waits, is measured by the monotonic one, which only goes forward, so that a jump neither
 * opens a window nor holds anybody up.
 */
export interface Clock {
  /** Epoch milliseconds. */
  wallMs(): number
  /** Milliseconds since some moment of the past. */
  monotonicMs(): number
}

export const systemClock: Clock = { wallMs: () => Date.now(), monotonicMs: () => performance.now() }

/**
 * When moments of the past were by the monotonic clock, told by their wall time, to be asked oldest first. One in the
 * future (the clock was set back since) counts as now, and none is before the one asked for last.
 */
export function pastByMonotonic(clock: Clock): (wallMs: number) => number {
  const wallNow = clock.wallMs()
  const now = clock.monotonicMs()
  let last = Number.NEGATIVE_INFINITY
  return wallMs => {
    last = Math.max(last, now - Math.max(0, wallNow - wallMs))
    return last
  }
}
