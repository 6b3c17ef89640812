/**
 * SIGINT and SIGTERM as an AbortSignal. The first asks politely; another one, a while later, ends the process at once.
 *
 * What comes right after the first is an echo of it: a terminal and a service manager signal npm and us, and npm hands
 * its own on. Taken for a second one, every Ctrl-C of `npm start` would be an unclean stop.
 *
 * `npx ev-central` has a shell between npm and us that dies of the signal and hands nothing on. That it is gone says the same.
 */

const ECHO_MS_MAX = 1_000
const PARENT_CHECK_MS = 250

export interface StopRequest extends Disposable {
  readonly signal: AbortSignal
}

/**
 * Until disposed.
 * @param beforeExit what must not be lost even when the process ends at once; synchronous.
 */
export function stopRequest(beforeExit: () => void = () => {}): StopRequest {
  const controller = new AbortController()
  let firstAt = Number.NaN
  const ask = () => {
    firstAt = performance.now()
    controller.abort()
  }
  const onSignal = () => {
    if (!controller.signal.aborted) return ask()
    if (performance.now() - firstAt < ECHO_MS_MAX) return
    beforeExit()
    process.exit(1)
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  const parentCheck = isOfNpx() ? whenOrphaned(ask) : undefined
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
      clearInterval(parentCheck)
    },
  }
}

/** Started by npx itself: what another command of npx starts, a process manager say, has the first name and not the second. */
function isOfNpx(): boolean {
  const { npm_lifecycle_event: event, npm_lifecycle_script: script } = process.env
  return event === 'npx' && /^'?ev-central\b/.test(script ?? '')
}

function whenOrphaned(then: () => void): NodeJS.Timeout {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    then()
  }, PARENT_CHECK_MS).unref()
  return timer
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
}
