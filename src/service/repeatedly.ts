/**
 * Does something again and again, never twice at once, with a pause behind each time; also the first time comes after one. `work` never
 * rejects. Disposed of when what was under way has ended.
 */
export function repeatedly(pauseMs: number, work: () => Promise<void>): AsyncDisposable {
  let isOver = false
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()

  function wait(): void {
    timer = setTimeout(() => {
      running = work().finally(() => {
        if (!isOver) wait()
      })
    }, pauseMs).unref()
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
