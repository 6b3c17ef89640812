/** The documented questions, and how long each takes: p99 of many askings, one after the other. */
import type { EventFilter, EventQueries } from '../src/query/event-queries.ts'
import { percentile } from './table.ts'

/** A trail made by the generator: how many events it has, when it begins, and how far apart they are. */
export interface Trail {
  readonly events: number
  readonly start: number
  readonly stepMs: number
}

function filters(time: (share: number) => string): Record<string, EventFilter> {
  return {
    'no filter': {},
    who: { who: 'CP-00017' },
    'who, rare': { who: 'CP-04000' },
    ip: { ip: '10.0.0.3' },
    action: { action: ['INCIDENT'] },
    'action list': { action: ['KEY_GENERATE', 'KEY_RESET', 'KEY_REVOKE'] },
    severity: { severity: ['CRITICAL'] },
    reason_code: { reason_code: ['TAMPERING_DETECTED'] },
    request_id: { request_id: '0198c0de-0000-7000-8000-00000000c350' },
    'no match': { who: 'nobody' },
    'time range': { start_time: time(0.4), end_time: time(0.5) },
    'action in an old time range': { action: ['AUTH_FAIL'], start_time: time(0.01), end_time: time(0.05) },
    'action since': { action: ['AUTH_FAIL'], start_time: time(0.9) },
    'action and severity': { action: ['INCIDENT'], severity: ['CRITICAL'] },
    'who and action': { who: 'CP-00000', action: ['KEY_REVOKE'] },
    'who and time range': { who: 'CP-00001', start_time: time(0.1), end_time: time(0.2) },
    'ip and action': { ip: '10.0.0.0', action: ['AUTH_FAIL'] },
    'action and reason': { action: ['AUTH_FAIL'], reason_code: ['THROTTLED'] },
  }
}

/** @returns p99 in milliseconds by the name of the question */
export async function measureQueries(
  queries: EventQueries,
  { events, start, stepMs }: Trail,
  repeats: number,
): Promise<Map<string, number>> {
  const time = (share: number) => new Date(start + share * events * stepMs).toISOString()
  const anywhere = (i: number) => 1 + ((i * 7_919_317) % events)
  const p99s = new Map<string, number>()
  const measure = async (name: string, ask: (i: number) => Promise<unknown>) => {
    await ask(0)
    const times = new Float64Array(repeats)
    for (let i = 0; i < repeats; i++) {
      const before = performance.now()
      await ask(i)
      times[i] = performance.now() - before
    }
    p99s.set(name, percentile(times.sort(), 0.99))
  }
  for (const [name, filter] of Object.entries(filters(time))) {
    await measure(name, () => queries.page({ filter, limit: 100, order: 'desc' }))
  }
  await measure('any page by cursor', i =>
    queries.page({ filter: {}, limit: 100, order: 'desc', after: anywhere(i) + 1 }),
  )
  await measure('any page by cursor, of one action', i =>
    queries.page({ filter: { action: ['AUTH_FAIL'] }, limit: 100, order: 'desc', after: anywhere(i) + 1 }),
  )
  await measure('oldest first', i => queries.page({ filter: {}, limit: 100, order: 'asc', after: anywhere(i) - 1 }))
  await measure('one event', i => queries.event(anywhere(i)))
  await measure('recent failures of an address', () =>
    queries.failures({ ip: '10.0.0.1', since: time(0.99), limit: 100 }),
  )
  return p99s
}
