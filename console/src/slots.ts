/**
 * Places that all windows of a browser share. With HTTP/1.1 a browser has six connections to one host, and a stream keeps one for
 * itself: without a limit, some windows with streams leave none for anybody's requests.
 *
 * Web Locks hold them, so the place of a window that is closed or killed is free at once. Where there are none (plain HTTP to another
 * machine), every window has its place.
 */

export interface Slots {
  readonly name: string
  readonly count: number
}

/** Resolves once there is a place, with how to give it back. Never, if `signal` ends the wait before. */
export function takeSlot({ name, count }: Slots, signal: AbortSignal): Promise<() => void> {
  const { locks } = navigator as { locks?: LockManager }
  if (locks === undefined) return Promise.resolve(() => {})
  return new Promise(resolve => {
    const others = new AbortController()
    const waits = { signal: AbortSignal.any([signal, others.signal]) }
    const hold = () => {
      // Two may be granted at the same moment: the second is given back.
      if (others.signal.aborted || signal.aborted) return
      others.abort()
      return new Promise<void>(release => resolve(release))
    }
    for (let n = 0; n < count; n++) locks.request(`${name} ${n}`, waits, hold).catch(() => {})
  })
}
