/**
 * What was done about which incident: a follower of the trail, which is the only place that knows. Reads forward from where
 * it was, once somebody asks. Owns its position and, for each handled incident, the ids of the events that say so; who wrote
 * what stays in the rows, so that an erasure finds all of it.
 */
import type { StoredEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import type { Episode, EventFilter, EventQueries } from '../query/event-queries.ts'
import type { IncidentStep } from '../security/security.ts'

export type IncidentState = 'open' | 'acknowledged' | 'resolved'

export interface Handling {
  readonly event_id: number
  readonly at: string
  readonly who: string
  readonly step: IncidentStep
  readonly note: string | null
}

export interface IncidentBook {
  /** The state of each, as of what is stored now. */
  states(episodes: readonly Episode[]): Promise<IncidentState[]>
  /** The same, with who did what. */
  handled(episodes: readonly Episode[]): Promise<(Episode & { state: IncidentState; handling: Handling[] })[]>
}

interface Entry {
  readonly id: number
  readonly step: IncidentStep
}

const STEPS: readonly IncidentStep[] = ['ACKNOWLEDGED', 'NOTED', 'RESOLVED']
const QUESTIONS_AT_ONCE = 16
const HANDLING: EventFilter = { action: ['ACCESS'], reason_code: STEPS }

export function createIncidentBook(queries: Pick<EventQueries, 'page' | 'event' | 'lastId'>): IncidentBook {
  const entries = new Map<number, Entry[]>()
  let position = 0
  let reading: Promise<void> | undefined

  async function readOn(): Promise<void> {
    const head = await queries.lastId()
    let after: number | null = position
    while (after !== null && after < head) {
      const page = await queries.page({ filter: HANDLING, order: 'asc', limit: LIMITS.pageEventsMax, after })
      for (const event of page.events) add(event)
      after = page.next
      position = Math.max(position, after ?? head, page.events.at(-1)?.id ?? 0)
    }
  }

  function add({ id, reason_code, metadata_json }: StoredEvent): void {
    const incident = incidentOf(metadata_json)
    if (incident === undefined) return
    const known = entries.get(incident) ?? []
    entries.set(incident, [...known, { id, step: reason_code as IncidentStep }])
  }

  /** One reader at a time; whoever comes meanwhile reads on after it, for its own event may be behind. */
  async function current(): Promise<void> {
    const before = reading ?? Promise.resolve()
    const own = before.catch(() => {}).then(readOn)
    reading = own
    await own
  }

  function entriesOf({ event_ids }: Episode): Entry[] {
    return event_ids.flatMap(id => entries.get(id) ?? []).sort((a, b) => a.id - b.id)
  }

  async function handlingOf({ id, step }: Entry): Promise<Handling[]> {
    const event = await queries.event(id)
    if (event === undefined) return []
    return [{ event_id: id, at: event.date_time, who: event.who, step, note: noteOf(event.metadata_json) }]
  }

  /** A few at a time: the reader takes a bounded number of questions, and others have some, too. */
  async function read(entries: readonly Entry[]): Promise<Map<number, Handling>> {
    const found = new Map<number, Handling>()
    for (let from = 0; from < entries.length; from += QUESTIONS_AT_ONCE) {
      const some = await Promise.all(entries.slice(from, from + QUESTIONS_AT_ONCE).map(handlingOf))
      for (const handling of some.flat()) found.set(handling.event_id, handling)
    }
    return found
  }

  return {
    async states(episodes) {
      await current()
      return episodes.map(episode => stateOf(episode, entriesOf(episode)))
    },
    async handled(episodes) {
      await current()
      const known = episodes.map(episode => ({ episode, own: entriesOf(episode) }))
      const handlings = await read(known.flatMap(({ own }) => own))
      return known.map(({ episode, own }) => ({
        ...episode,
        state: stateOf(episode, own),
        handling: own.flatMap(({ id }) => handlings.get(id) ?? []),
      }))
    },
  }
}

function stateOf({ event_ids }: Episode, entries: readonly Entry[]): IncidentState {
  let state: IncidentState = 'open'
  let decidedBy = 0
  for (const { id, step } of entries) {
    if (step === 'NOTED') continue
    state = step === 'RESOLVED' ? 'resolved' : 'acknowledged'
    decidedBy = id
  }
  const goesOn = (event_ids.at(-1) ?? 0) > decidedBy
  return state === 'resolved' && goesOn ? 'open' : state
}

/** Rows may come from an import, and erased ones are blank. */
function metadataOf(text: string | null): Record<string, unknown> {
  try {
    return Object(JSON.parse(text ?? '{}'))
  } catch {
    return {}
  }
}

function incidentOf(text: string | null): number | undefined {
  const { incident } = metadataOf(text)
  return Number.isSafeInteger(incident) ? (incident as number) : undefined
}

function noteOf(text: string | null): string | null {
  const { note } = metadataOf(text)
  return typeof note === 'string' ? note : null
}
