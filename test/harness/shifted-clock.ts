/**
 * Preloaded into a process (`--import`), it makes the platform's wall clock wrong by as many milliseconds as the file named by
 * TEST_CLOCK_FILE says, from one moment to the next, as if somebody had set it. The monotonic clock is left alone.
 */
import { readFileSync } from 'node:fs'

const file = process.env.TEST_CLOCK_FILE ?? ''
const RealDate = Date
let offsetMs = 0

function look(): void {
  try {
    offsetMs = Number(readFileSync(file, 'utf8'))
  } catch {
    // not written yet
  }
}

class ShiftedDate extends RealDate {
  constructor(...parts: unknown[]) {
    if (parts.length === 0) super(ShiftedDate.now())
    else super(...(parts as [number]))
  }

  static override now(): number {
    return RealDate.now() + offsetMs
  }
}

look()
setInterval(look, 10).unref()
globalThis.Date = ShiftedDate as DateConstructor
