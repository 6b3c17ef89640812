/**
 * The list of events as the page walks it: newest first, in blocks, each of a known place in the trail.
 *
 * Promise: rows never move under who reads them: what arrives while somebody reads (or has paused) waits, and is put on top
 * when they come back to it. None is missed and none comes twice, for everything goes by id: the stream begins before the first page is
 * asked for, and goes on behind the last id it gave or passed over. The list has no end but that of the trail: rows far from where one
 * looks are dropped and asked for again by the place of their block, so ten million rows are 50,000 blocks without rows.
 *
 *   starting    the stream opens, then the first page is asked for; if the stream has to wait, the page does not
 *   following   pages are added below as one scrolls, events on top as they arrive
 *   (Whether the connection is there, the stream says; the list does not change by that.)
 */
import { api, Problem, query } from '../api.ts'
import type { StoredEvent } from '../model.ts'
import { openStream, type StreamState } from '../stream.ts'

export type Filter = Readonly<Record<string, string>>

interface Block {
  /** Its first row, counted from where the list began: what came on top has negative numbers, so nothing is counted anew for it. */
  start: number
  /** Its rows are the matching ones below this id ... */
  before: number
  /** ... so many of them. */
  count: number
  /** Newest first; undefined while they are not held. */
  rows: StoredEvent[] | undefined
  isLoading: boolean
}

interface Page {
  readonly events: StoredEvent[]
  readonly next_cursor: string | null
}

const BLOCK_ROWS = 200
/** Rows that are held on each side of where one looks. */
export const HELD_ROWS = 2_000
const NOTIFY_MS = 100
const WAIT_MS = 200
/** With the one of the overview, they leave a browser connections for requests. */
const TAIL_SLOTS = { name: 'evc-tail', count: 3 }

export class Feed {
  readonly filter: Filter
  private readonly listeners = new Set<() => void>()
  private blocks: Block[] = []
  /** Those of them that have their rows. */
  private readonly held = new Set<Block>()
  /** Newest first as well: what has arrived and is not listed yet. */
  private waiting: Block[] = []
  private waitingCount = 0
  private cursor: string | null | undefined
  private isLoadingOlder = false
  private isHeld = false
  private topId = 0
  /** Everything up to it was listed, or does not match; 0 while that is not known. */
  private position = 0
  /** The stream was told where to begin. */
  private isPlaced = false
  /** What came between that page and the stream is in neither. */
  private hasGap = false
  private closeStream: (() => void) | undefined
  private timer: number | undefined
  private looksAt = 0
  private isClosed = false

  version = 0
  /** How many arrived since the list began. */
  arrived = 0
  /** How many of them are listed. */
  addedOnTop = 0
  error: unknown
  stream: StreamState = 'connecting'
  isStarting = true
  isRefused = false

  constructor(filter: Filter) {
    this.filter = filter
  }

  get isLive(): boolean {
    return this.filter.end_time === undefined
  }

  get count(): number {
    return this.end + this.addedOnTop
  }

  private get end(): number {
    const last = this.blocks.at(-1)
    return last === undefined ? -this.addedOnTop : last.start + last.count
  }

  get waitingRows(): number {
    return this.waitingCount
  }

  get hasOlder(): boolean {
    return this.cursor !== null
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  start(): void {
    this.isClosed = false
    if (!this.isLive) {
      void this.loadOlder()
      return
    }
    let hasBegun = this.cursor !== undefined
    const begin = () => {
      if (hasBegun) return
      hasBegun = true
      void this.loadOlder()
    }
    this.closeStream = openStream({
      slots: TAIL_SLOTS,
      url: () => {
        this.isPlaced = this.position > 0
        return `/audit/stream${query({ ...this.filter, last_event_id: this.position || undefined })}`
      },
      onMessage: data => this.receive(JSON.parse(data) as StoredEvent),
      onPosition: id => this.pass(id),
      onState: state => {
        this.stream = state
        if (state === 'open') {
          if (hasBegun && !this.isPlaced) this.hasGap = true
          this.closeGap()
        }
        if (state === 'open' || state === 'lost') begin()
        // A free place is had at once: only who has to wait for one begins without.
        if (state === 'waiting') setTimeout(() => this.stream === 'waiting' && begin(), WAIT_MS)
        this.notify()
      },
      onFailure: () => void api('POST', '/session/renew').catch(() => {}),
    })
  }

  close(): void {
    this.isClosed = true
    this.closeStream?.()
    clearTimeout(this.timer)
    this.timer = undefined
  }

  /** While held, what arrives waits. */
  hold(isHeld: boolean): void {
    if (this.isHeld === isHeld) return
    this.isHeld = isHeld
    if (!isHeld) this.show()
  }

  /** Which row, if it is held; asks for it if not. */
  row(index: number): StoredEvent | undefined {
    const place = index - this.addedOnTop
    const block = this.blockAt(place)
    if (block === undefined) return undefined
    if (block.rows === undefined) void this.reload(block)
    return block.rows?.[place - block.start]
  }

  /** Where one looks: what is far from it is dropped. */
  look(index: number): void {
    this.looksAt = index
    this.release()
  }

  /** Of a row that is held. */
  indexOf(id: number): number {
    for (const { start, rows } of this.held) {
      const n = rows?.findIndex(row => row.id === id) ?? -1
      if (n !== -1) return start + n + this.addedOnTop
    }
    return -1
  }

  async loadOlder(): Promise<void> {
    if (this.isLoadingOlder || this.cursor === null || this.isClosed) return
    this.isLoadingOlder = true
    try {
      // A page is empty when time ran out before anything was found; only the cursor says that there is no more.
      for (let found = 0; found === 0 && this.cursor !== null && !this.isClosed; ) {
        const { cursor } = this
        const page: Page = await api('GET', `/audit/events${query({ ...this.filter, cursor, limit: BLOCK_ROWS })}`)
        this.append(page)
        found = page.events.length
      }
      this.error = undefined
    } catch (error) {
      this.error = error
      if (error instanceof Problem && error.status === 422) this.refuse()
    }
    this.isStarting = false
    this.isLoadingOlder = false
    this.closeGap()
    this.notify()
  }

  /** Filters that the service does not take: asked again, they would only be refused, and on record, again. */
  private refuse(): void {
    this.isRefused = true
    this.closeStream?.()
  }

  private append({ events, next_cursor }: Page): void {
    const isFirst = this.cursor === undefined
    this.cursor = next_cursor
    const top = events[0]
    if (top === undefined) return
    const block = { start: this.end, before: top.id + 1, count: events.length, rows: events, isLoading: false }
    this.blocks.push(block)
    this.held.add(block)
    if (isFirst) {
      // The stream began before this page was asked for: what both have is listed once.
      for (const block of this.waiting) block.rows = block.rows?.filter(({ id }) => id > top.id)
      this.topId = Math.max(this.topId, top.id)
      this.position = Math.max(this.position, top.id)
      this.waiting = this.waiting
        .filter(block => block.rows !== undefined && block.rows.length > 0)
        .map(block => ({ ...block, count: block.rows?.length ?? 0 }))
      this.waitingCount = this.waiting.reduce((sum, block) => sum + block.count, 0)
      this.isStarting = false
      this.show()
    }
    this.release()
  }

  private pass(id: number): void {
    this.position = Math.max(this.position, id)
  }

  /** The stream began behind a page that was asked for before, and could not be told where to begin: the page is asked for anew. */
  private closeGap(): void {
    if (!this.hasGap || this.isLoadingOlder) return
    this.hasGap = false
    this.blocks = []
    this.held.clear()
    this.cursor = undefined
    void this.loadOlder()
  }

  private receive(event: StoredEvent): void {
    if (event.id <= this.topId) return
    this.topId = event.id
    this.position = Math.max(this.position, event.id)
    this.arrived++
    this.waitingCount++
    const newest = this.waiting[0]
    if (newest === undefined || newest.count >= BLOCK_ROWS || newest.rows === undefined) {
      this.waiting.unshift({ start: 0, before: event.id + 1, count: 1, rows: [event], isLoading: false })
    } else {
      newest.rows.unshift(event)
      newest.count++
      newest.before = event.id + 1
    }
    // Whoever is away for long finds them all, but they need not be held until then: only the first page has to be compared with them.
    const far = this.waiting[HELD_ROWS / BLOCK_ROWS]
    if (far !== undefined && !this.isStarting) far.rows = undefined
    this.notify()
  }

  /** Puts what waits on top. */
  private show(): void {
    if (this.isStarting || this.waiting.length === 0) return
    const first = this.blocks[0]
    const oldest = this.waiting.at(-1)
    // Small blocks become one, or a slow trail would leave a block for each event.
    if (first?.rows !== undefined && oldest?.rows !== undefined && first.count + oldest.count <= BLOCK_ROWS) {
      first.rows = [...oldest.rows, ...first.rows]
      first.start -= oldest.count
      first.count += oldest.count
      first.before = oldest.before
      this.waiting.pop()
    }
    let start = first?.start ?? -this.addedOnTop
    for (const block of this.waiting.toReversed()) {
      start -= block.count
      block.start = start
      if (block.rows !== undefined) this.held.add(block)
    }
    this.blocks = [...this.waiting, ...this.blocks]
    this.addedOnTop += this.waitingCount
    this.waiting = []
    this.waitingCount = 0
    this.release()
  }

  /** The one that has the row of this number, counted as its `start`. */
  private blockAt(place: number): Block | undefined {
    let low = 0
    let high = this.blocks.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.blocks[middle] as Block).start <= place) low = middle
      else high = middle - 1
    }
    return this.blocks[low]
  }

  private release(): void {
    const place = this.looksAt - this.addedOnTop
    for (const block of this.held) {
      if (block.start <= place + HELD_ROWS && block.start + block.count >= place - HELD_ROWS) continue
      block.rows = undefined
      this.held.delete(block)
    }
  }

  private async reload(block: Block): Promise<void> {
    if (block.isLoading) return
    block.isLoading = true
    try {
      const rows: StoredEvent[] = []
      for (let before_id = block.before; rows.length < block.count; ) {
        const limit = block.count - rows.length
        const page: Page = await api('GET', `/audit/events${query({ ...this.filter, before_id, limit })}`)
        rows.push(...page.events)
        const last = page.events.at(-1)
        if (last === undefined || page.next_cursor === null) break
        before_id = last.id
      }
      block.rows = rows
      this.held.add(block)
    } catch (error) {
      if (error instanceof Problem && error.status === 0)
        setTimeout(() => this.notify(), 2_000) // looked at again then
      else this.error = error
    }
    block.isLoading = false
    this.notify()
  }

  private notify(): void {
    this.timer ??= window.setTimeout(() => {
      this.timer = undefined
      if (!this.isHeld) this.show()
      this.version++
      for (const listener of this.listeners) listener()
    }, NOTIFY_MS)
  }
}
