/** SIGINT and SIGTERM as an AbortSignal. The first asks politely; the second ends the process at once. */

export interface StopRequest extends Disposable {
  readonly signal: AbortSignal
}

/**
 * Until disposed.
 * @param beforeExit what must not be lost even when the process ends at once; synchronous.
 */
export function stopRequest(beforeExit: () => void = () => {}): StopRequest {
  const controller = new AbortController()
  const onSignal = () => {
    if (controller.signal.aborted) {
      beforeExit()
      process.exit(1)
    }
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
