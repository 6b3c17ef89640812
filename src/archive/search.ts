/**
 * Pages of archived events, with the filters and the order of the ones in the database (query/event-queries.ts).
 *
 * Streams: one block of one archive is in memory, whatever is searched for and in whichever order. An archive that the
 * time range or the cursor leaves out is not opened; one that is opened is read once to compare its digest, before the
 * first of its events is shown. There is no index: a search reads what the time range leaves.
 */
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import type { EventFilter, EventPage, Order, PageRequest } from '../query/event-queries.ts'
import { timeRange } from '../query/times.ts'
import type { ArchiveRecord } from '../store/retention.ts'
import { readArchiveFolder } from './folder.ts'
import type { ArchiveManifest } from './format.ts'
import { type OpenArchive, openArchive } from './read-archive.ts'

export interface ArchiveSearch extends Disposable {
  /** Pages of one filter and order, each with the `next` of the one before as its `after`, go on where that ended. */
  page(request: PageRequest): Promise<EventPage>
}

/**
 * @param onBlock called after each block, with the events looked at since the last call
 * @throws {Refusal} ARCHIVE_INVALID: the manifests in the folder do not fit together; later, also from `page`: a file
 * does not fit its manifest
 */
export function searchArchives(
  directory: string,
  known: readonly ArchiveRecord[],
  onBlock: (events: number) => void = () => {},
): ArchiveSearch {
  const { archives, problems } = readArchiveFolder(directory, known)
  const [problem] = problems
  if (problem !== undefined) throw new Refusal('ARCHIVE_INVALID', capitalized(problem))
  const manifests = archives.map(({ manifest }) => manifest).sort((a, b) => a.first_id - b.first_id)
  for (const [n, { file, first_id }] of manifests.entries()) {
    if (first_id <= (manifests[n - 1]?.last_id ?? 0)) {
      throw new Refusal('ARCHIVE_INVALID', `${file} holds events that the archive before it holds too.`)
    }
  }
  let opened: OpenArchive | undefined
  let block: { readonly of: OpenArchive; readonly number: number; readonly events: readonly StoredEvent[] } | undefined

  /** The one that is open already, most likely. */
  function open(manifest: ArchiveManifest): OpenArchive {
    if (opened?.manifest !== manifest) {
      opened?.[Symbol.dispose]()
      opened = undefined
      opened = openArchive(directory, manifest)
    }
    return opened
  }

  function eventsOf(archive: OpenArchive, number: number): readonly StoredEvent[] {
    if (block?.of !== archive || block.number !== number) {
      block = { of: archive, number, events: archive.events(number) }
      onBlock(block.events.length)
    }
    return block.events
  }

  function* walk({ filter, order, after }: PageRequest): Generator<StoredEvent> {
    const isWanted = condition(filter)
    const isBeyond = (id: number) => after === undefined || (order === 'asc' ? id > after : id < after)
    for (const manifest of inOrder(manifests, order)) {
      const farthest = order === 'asc' ? manifest.last_id : manifest.first_id
      if (!isBeyond(farthest) || !overlaps(manifest, filter)) continue
      const archive = open(manifest)
      for (const number of inOrder([...manifest.blocks.keys()], order)) {
        const firstId = (manifest.blocks[number] as (typeof manifest.blocks)[number])[0]
        const lastId = (manifest.blocks[number + 1]?.[0] ?? manifest.last_id + 1) - 1
        if (!isBeyond(order === 'asc' ? lastId : firstId)) continue
        for (const event of inOrder(eventsOf(archive, number), order)) {
          if (isBeyond(event.id) && isWanted(event)) yield event
        }
      }
    }
  }

  return {
    async page(request) {
      const events: StoredEvent[] = []
      const soFar = () => ({ events, next: (events.at(-1) as StoredEvent).id })
      try {
        for (const event of walk(request)) {
          if (events.length === request.limit) return soFar()
          events.push(event)
        }
      } catch (error) {
        if (events.length === 0) throw error
        return soFar() // a short page of what is sound; the next one fails at once
      }
      return { events, next: null }
    },
    [Symbol.dispose]: () => opened?.[Symbol.dispose](),
  }
}

function* inOrder<T>(items: readonly T[], order: Order): Generator<T> {
  for (let n = 0; n < items.length; n++) yield items[order === 'asc' ? n : items.length - 1 - n] as T
}

export function overlaps(
  { first_time, last_time }: Pick<ArchiveManifest, 'first_time' | 'last_time'>,
  filter: EventFilter,
): boolean {
  const range = timeRange(filter)
  return range === undefined || (Date.parse(last_time) >= range.startMs && Date.parse(first_time) < range.endMs)
}

/** As the database answers it: texts are equal to the letter, times are compared as moments. */
export function condition({ who, ip, request_id, action, severity, reason_code, start_time, end_time }: EventFilter) {
  const range = timeRange({ start_time, end_time })
  const isOneOf = (values: readonly string[] | undefined, value: string | null) =>
    values === undefined || (value !== null && values.includes(value))
  return (event: StoredEvent): boolean => {
    if (who !== undefined && event.who !== who) return false
    if (ip !== undefined && event.ip !== ip) return false
    if (request_id !== undefined && event.request_id !== request_id) return false
    if (!isOneOf(action, event.action) || !isOneOf(severity, event.severity)) return false
    if (!isOneOf(reason_code, event.reason_code)) return false
    if (range === undefined) return true
    const at = Date.parse(event.date_time)
    return at >= range.startMs && at < range.endMs
  }
}

const capitalized = (sentence: string) => `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}.`
