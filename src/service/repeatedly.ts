/**
 * Does something again and again, never twice at once, with a pause behind each time; also the first time comes after one. Disposed of
 * when what was under way has ended.
 * @param onFailure called when it does not go, once until it does again
 */
export function repeatedly(
  pauseMs: number,
  work: () => Promise<void>,
  onFailure: (error: unknown) => void,
): AsyncDisposable {
  let hasFailed = false
  let isOver = false
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()

  function wait(): void {
    timer = setTimeout(() => {
      running = attempt().finally(() => {
        if (!isOver) wait()
      })
    }, pauseMs).unref()
  }

  async function attempt(): Promise<void> {
    try {
      await work()
      hasFailed = false
    } catch (error) {
      if (!hasFailed) onFailure(error)
      hasFailed = true
    }
  }

  wait()
  return {
    async [Symbol.asyncDispose]() {
      isOver = true
      clearTimeout(timer)
      await running
    },
  }
}
