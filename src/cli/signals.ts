/**
 * SIGINT and SIGTERM as an AbortSignal. The first asks politely; another one, a while later, ends the process at once.
 *
 * What comes right after the first is an echo of it: a terminal and a service manager signal npm and us, and npm hands
 * its own on. Taken for a second one, every Ctrl-C of `npm start` would be an unclean stop.
 */

const ECHO_MS_MAX = 1_000

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
  const onSignal = () => {
    if (controller.signal.aborted) {
      if (performance.now() - firstAt < ECHO_MS_MAX) return
      beforeExit()
      process.exit(1)
    }
    firstAt = performance.now()
    controller.abort()
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
    },
  }
}

/** Resolves when the signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
}
