/**
 * Incidents as episodes: brute-force incidents of one subject that follow each other within a quiet time are one,
 * every other incident is one by itself, also one that was erased.
 *
 * Walks newest first and lets each incident join an episode of its subject that it is near to in time. When the range
 * or the limit ends the walk, the episodes found may have begun earlier; `completeOpen` looks back for just those.
 */
import { networkOf } from '../context/client-address.ts'
import { Refusal } from '../errors.ts'
import { INCIDENT } from '../event/catalogue.ts'
import { isErased, type StoredEvent } from '../event/event.ts'
import type { Episode, EventFilter, EventPage, EventQueries } from './event-queries.ts'
import type { Deadline } from './id-streams.ts'
import { spellTime } from './times.ts'
import type { WalkRequest } from './walk.ts'

export type EpisodesRequest = Parameters<EventQueries['episodes']>[0]

interface Draft {
  /** Undefined for an incident that never joins another. */
  readonly subject: string | undefined
  readonly scope: Episode['scope']
  /** Newest first, as walked. */
  incidents: StoredEvent[]
  /** Epoch milliseconds of the earliest and the latest incident. */
  firstMs: number
  lastMs: number
}

const PAGE = 200

/** An answer that takes several walks: yields each, and is given its page, whoever the store is. */
export type Walking<Answer> = Generator<WalkRequest, Answer, EventPage>

/** @throws {Refusal} QUERY_TIMEOUT */
export function* findEpisodes(request: EpisodesRequest, deadline: Deadline): Walking<Episode[]> {
  const quietMs = request.quietSeconds * 1000
  const drafts: Draft[] = []
  const filter: EventFilter = { action: ['INCIDENT'], ...timeOf(request) }
  let unwalked: EventFilter | undefined
  let below: number | undefined
  yield* walk(filter, deadline, undefined, incident => {
    if (join(drafts, incident, quietMs)) return true
    if (drafts.length === request.limit) {
      unwalked = filter
      below = incident.id + 1
      return false
    }
    drafts.push(draftOf(incident))
    return true
  })
  if (unwalked !== undefined) yield* completeOpen(drafts, quietMs, unwalked, below, deadline)
  if (request.start_time !== undefined) {
    const before = { end_time: request.start_time }
    yield* completeOpen(drafts, quietMs, before, undefined, deadline)
  }
  return drafts.map(formatEpisode).sort((a, b) => (b.event_ids.at(-1) as number) - (a.event_ids.at(-1) as number))
}

/** Looks as far back as an episode could still reach, again and again until no episode has grown. */
function* completeOpen(
  drafts: Draft[],
  quietMs: number,
  filter: EventFilter,
  below: number | undefined,
  deadline: Deadline,
): Walking<void> {
  const seen = new Set<number>()
  for (let hasGrown = true; hasGrown; ) {
    if (deadline.passed()) throw new Refusal('QUERY_TIMEOUT')
    hasGrown = false
    const open = drafts.filter(draft => draft.subject !== undefined)
    if (open.length === 0) return
    const reach = new Date(Math.min(...open.map(draft => draft.firstMs)) - quietMs).toISOString()
    const start_time = filter.start_time !== undefined && filter.start_time > reach ? filter.start_time : reach
    const brute: EventFilter = {
      ...filter,
      reason_code: [INCIDENT.BRUTE_FORCE_SUSPECTED],
      action: ['INCIDENT'],
      start_time,
    }
    yield* walk(brute, deadline, below, incident => {
      if (!seen.has(incident.id) && join(drafts, incident, quietMs)) {
        seen.add(incident.id)
        hasGrown = true
      }
      return true
    })
  }
}

/** @param take false when no more is wanted */
function* walk(
  filter: EventFilter,
  deadline: Deadline,
  below: number | undefined,
  take: (incident: StoredEvent) => boolean,
): Walking<void> {
  let after = below
  do {
    const page = yield { filter, order: 'desc', limit: PAGE, after }
    if (!page.events.every(take)) return
    after = page.next ?? undefined
    if (after !== undefined && deadline.passed()) throw new Refusal('QUERY_TIMEOUT')
  } while (after !== undefined)
}

/** Adds the incident to the episode it belongs to; two episodes that it connects become one. */
function join(drafts: Draft[], incident: StoredEvent, quietMs: number): boolean {
  const { subject } = subjectOf(incident)
  if (subject === undefined) return false
  const at = Date.parse(incident.date_time)
  const near = drafts.filter(
    draft => draft.subject === subject && at > draft.firstMs - quietMs && at < draft.lastMs + quietMs,
  )
  const [first, ...others] = near
  if (first === undefined) return false
  first.incidents.push(incident)
  for (const other of others) {
    first.incidents.push(...other.incidents)
    drafts.splice(drafts.indexOf(other), 1)
  }
  first.firstMs = Math.min(at, ...near.map(draft => draft.firstMs))
  first.lastMs = Math.max(at, ...near.map(draft => draft.lastMs))
  return true
}

function draftOf(incident: StoredEvent): Draft {
  const at = Date.parse(incident.date_time)
  return { ...subjectOf(incident), incidents: [incident], firstMs: at, lastMs: at }
}

/** An address counts by its network (IPv6 by /64), as the detector counts it. */
function subjectOf(incident: StoredEvent): Pick<Draft, 'subject' | 'scope'> {
  if (incident.reason_code !== INCIDENT.BRUTE_FORCE_SUSPECTED || isErased(incident)) {
    return { subject: undefined, scope: null }
  }
  const metadata = metadataOf(incident)
  // The reference implementation wrote no scope: its metadata has either the address or the charge point.
  const scope = metadata.scope ?? (metadata.cp_id !== undefined && metadata.ip === undefined ? 'cp_id' : 'ip')
  return scope === 'cp_id'
    ? { scope: 'cp_id', subject: `cp_id ${incident.who}` }
    : { scope: 'ip', subject: `ip ${networkOf(incident.ip)}` }
}

function formatEpisode({ scope, incidents }: Draft): Episode {
  const inOrder = incidents.toSorted((a, b) => a.id - b.id)
  const first = inOrder[0] as StoredEvent
  const last = inOrder.at(-1) as StoredEvent
  const times = inOrder.map(incident => incident.date_time).sort()
  const count = metadataOf(last).failure_count
  return {
    episode_id: first.id,
    reason_code: last.reason_code ?? '',
    scope,
    ip: last.ip,
    who: last.who,
    first_seen: times[0] as string,
    last_seen: times.at(-1) as string,
    failure_count: scope !== null && typeof count === 'number' ? count : null,
    event_ids: inOrder.map(incident => incident.id),
    description: last.description,
  }
}

/** Stored rows may come from an import, so their metadata is not taken on trust. */
function metadataOf(event: StoredEvent): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(event.metadata_json ?? '{}')
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

function timeOf({ start_time, end_time }: EpisodesRequest): EventFilter {
  return {
    ...(start_time === undefined ? {} : { start_time: spellTime(start_time, 'start_time') }),
    ...(end_time === undefined ? {} : { end_time: spellTime(end_time, 'end_time') }),
  }
}
