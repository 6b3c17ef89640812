/**
 * Timers that pass when told to. So a run depends on its seed and not on the machine, and a pause of a second costs nothing.
 * Takes the place of the global functions, for one run at a time; a real turn of the event loop stays to be had.
 */

export interface VirtualTimers extends Disposable {
  /** Lets so much time pass; what is due runs in the order in which it is due. Returns how many did. */
  pass(ms: number): number
  /** A real turn: promises are settled, reads of files come back. */
  turn(): Promise<void>
}

interface Timer {
  readonly atMs: number
  readonly run: () => void
  unref(): Timer
}

export function takeTimers(): VirtualTimers {
  const { setTimeout, clearTimeout, setImmediate } = globalThis
  let nowMs = 0
  let timers: Timer[] = []

  function start(run: () => void, ms: number): Timer {
    const timer: Timer = { atMs: nowMs + ms, run, unref: () => timer }
    timers.push(timer)
    return timer
  }

  Object.assign(globalThis, {
    setTimeout: (work: (...all: unknown[]) => void, ms = 1, ...all: unknown[]) => start(() => work(...all), ms),
    setImmediate: (work: (...all: unknown[]) => void, ...all: unknown[]) => start(() => work(...all), 0),
    clearTimeout: (timer: Timer | undefined) => {
      timers = timers.filter(other => other !== timer)
    },
  })

  return {
    pass(ms) {
      const untilMs = nowMs + ms
      for (let ran = 0; ; ran++) {
        const due = timers.filter(timer => timer.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0]
        if (due === undefined) {
          nowMs = untilMs
          return ran
        }
        nowMs = Math.max(nowMs, due.atMs)
        timers = timers.filter(other => other !== due)
        due.run()
      }
    },
    turn: () => new Promise(resolve => setImmediate(resolve)),
    [Symbol.dispose]: () => void Object.assign(globalThis, { setTimeout, clearTimeout, setImmediate }),
  }
}
