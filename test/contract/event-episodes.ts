/** The suite that every implementation of the questions is held to: episodes. */
import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { AuditEvent, StoredEvent } from '../../src/event/event.ts'
import type { EpisodesRequest } from '../../src/query/episodes.ts'
import type { Episode } from '../../src/query/event-queries.ts'
import { matches, NEVER, type QueriedStore, timeAt } from '../unit/query/event-fixture.ts'
import { sampleEvent } from './event-store.ts'

const QUIET = 600

type Subject = { scope: 'ip'; ip: string } | { scope: 'cp_id'; who: string }

function bruteForce(seconds: number, subject: Subject, failures: number): AuditEvent {
  return incident(seconds, {
    reason_code: 'BRUTE_FORCE_SUSPECTED',
    ...('ip' in subject ? { ip: subject.ip } : { who: subject.who }),
    metadata_json: JSON.stringify({ scope: subject.scope, failure_count: failures }),
  })
}

function incident(seconds: number, fields: Partial<AuditEvent>): AuditEvent {
  return sampleEvent(0, { date_time: timeAt(seconds), action: 'INCIDENT', severity: 'CRITICAL', ...fields })
}

const seenIn = (episodes: readonly Episode[]) => episodes.map(episode => episode.event_ids)

const SUBJECTS: readonly Subject[] = [
  { scope: 'ip', ip: '10.0.0.1' },
  { scope: 'ip', ip: '10.0.0.2' },
  { scope: 'cp_id', who: 'CP-1' },
]

/** Runs of each subject over all rows, of which those count that have an incident in the range. */
function naiveEpisodes(rows: readonly StoredEvent[], request: EpisodesRequest): number[][] {
  const { quietSeconds, limit, ...range } = request
  const runs: StoredEvent[][] = []
  const current = new Map<string, StoredEvent[]>()
  for (const event of rows) {
    if (event.action !== 'INCIDENT') continue
    const { scope } = JSON.parse(event.metadata_json ?? '{}')
    const subject = scope === undefined ? `alone ${event.id}` : scope === 'ip' ? `ip ${event.ip}` : `cp ${event.who}`
    const run = current.get(subject)
    const last = run?.at(-1)
    if (run !== undefined && last !== undefined && secondsBetween(last, event) < quietSeconds) {
      run.push(event)
    } else {
      const started = [event]
      runs.push(started)
      current.set(subject, started)
    }
  }
  const untilEnd = runs
    .map(run => run.filter(event => range.end_time === undefined || matches(event, { end_time: range.end_time })))
    .filter(run => run.some(event => matches(event, range)))
  const newestFirst = untilEnd.sort((a, b) => (b.at(-1)?.id ?? 0) - (a.at(-1)?.id ?? 0))
  return newestFirst.slice(0, limit).map(run => run.map(event => event.id))
}

function secondsBetween(a: StoredEvent, b: StoredEvent): number {
  return (Date.parse(b.date_time) - Date.parse(a.date_time)) / 1000
}

/** @param numRuns trails that are made up, each in a store of its own */
export function eventEpisodesContract(name: string, create: () => Promise<QueriedStore>, numRuns = 60): void {
  const contract = (title: string, body: (fixture: QueriedStore) => Promise<void>) =>
    test(`${name}: episodes: ${title}`, async () => {
      await using fixture = await create()
      await body(fixture)
    })

  contract('incidents of one subject within the quiet time are one, and tell their first and last', async fixture => {
    await fixture.append([
      bruteForce(0, { scope: 'ip', ip: '198.51.100.1' }, 5),
      incident(10, { reason_code: 'UNAUTHORIZED_ADMIN_ACCESS', who: 'mallory', metadata_json: null }),
      bruteForce(20, { scope: 'cp_id', who: 'CP-9' }, 5),
      bruteForce(300, { scope: 'ip', ip: '198.51.100.1' }, 10),
      sampleEvent(301),
      bruteForce(300 + QUIET, { scope: 'ip', ip: '198.51.100.1' }, 5),
    ])
    const [second, first, chargePoint, admin] = await fixture.queries.episodes(
      { quietSeconds: QUIET, limit: 10 },
      NEVER,
    )
    assert.deepEqual([second?.event_ids, first?.event_ids], [[6], [1, 4]], 'a gap as long as the quiet time ends it')
    assert.deepEqual(first, {
      episode_id: 1,
      reason_code: 'BRUTE_FORCE_SUSPECTED',
      scope: 'ip',
      ip: '198.51.100.1',
      who: 'CP-0',
      first_seen: timeAt(0),
      last_seen: timeAt(300),
      failure_count: 10,
      event_ids: [1, 4],
      description: 'event 0',
    })
    assert.deepEqual([chargePoint?.scope, chargePoint?.who, chargePoint?.failure_count], ['cp_id', 'CP-9', 5])
    assert.deepEqual([admin?.scope, admin?.who, admin?.failure_count], [null, 'mallory', null])
  })

  contract('addresses of one IPv6 /64 are one subject', async fixture => {
    await fixture.append([
      bruteForce(0, { scope: 'ip', ip: '2001:db8::1' }, 5),
      bruteForce(1, { scope: 'ip', ip: '2001:db8::ffff' }, 10),
      bruteForce(2, { scope: 'ip', ip: '2001:db8:0:1::1' }, 5),
    ])
    assert.deepEqual(seenIn(await fixture.queries.episodes({ quietSeconds: QUIET, limit: 10 }, NEVER)), [[3], [1, 2]])
  })

  contract('imported incidents without a scope are told by their metadata', async fixture => {
    const reason_code = 'BRUTE_FORCE_SUSPECTED'
    await fixture.append([
      incident(0, {
        reason_code,
        ip: '10.0.0.9',
        who: 'CP-1',
        metadata_json: '{"ip": "10.0.0.9", "failure_count": 5}',
      }),
      incident(1, {
        reason_code,
        ip: '10.0.0.9',
        who: 'CP-2',
        metadata_json: '{"ip": "10.0.0.9", "failure_count": 6}',
      }),
      incident(2, { reason_code, ip: '10.0.0.9', who: 'CP-2', metadata_json: '{"cp_id": "CP-2", "failure_count": 5}' }),
      incident(3, { reason_code, ip: '10.0.0.9', who: 'CP-3', metadata_json: 'not json' }),
      incident(4, { reason_code, ip: '10.0.0.9', who: 'CP-3', metadata_json: '[null]' }),
    ])
    const episodes = await fixture.queries.episodes({ quietSeconds: QUIET, limit: 10 }, NEVER)
    assert.deepEqual(seenIn(episodes), [[1, 2, 4, 5], [3]])
    assert.deepEqual(
      episodes.map(episode => episode.scope),
      ['ip', 'cp_id'],
    )
  })

  contract('one that began before the range is told whole', async fixture => {
    const subject: Subject = { scope: 'ip', ip: '10.0.0.1' }
    await fixture.append([0, 500, 1_000, 1_500, 2_000].map((at, i) => bruteForce(at, subject, 5 * 2 ** i)))
    const request = { start_time: timeAt(1_900), end_time: timeAt(3_000), quietSeconds: QUIET, limit: 10 }
    assert.deepEqual(seenIn(await fixture.queries.episodes(request, NEVER)), [[1, 2, 3, 4, 5]])
    const later = { ...request, start_time: timeAt(2_001) }
    assert.deepEqual(await fixture.queries.episodes(later, NEVER), [], 'nothing of it lies in the range')
  })

  contract('any range and limit gives what a naive grouping of all incidents gives', async () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 900 }), fc.nat(SUBJECTS.length + 1)), { maxLength: 60 })
    const bound = fc.option(fc.nat(20_000).map(timeAt), { nil: undefined })
    await fc.assert(
      fc.asyncProperty(steps, bound, bound, fc.integer({ min: 1, max: 12 }), async (steps, start, end, limit) => {
        await using fixture = await create()
        let seconds = 0
        const events = steps.map(([gap, which]) => {
          seconds += gap
          const subject = SUBJECTS[which]
          if (subject !== undefined) return bruteForce(seconds, subject, 5)
          if (which > SUBJECTS.length) return sampleEvent(0, { date_time: timeAt(seconds) })
          return incident(seconds, { reason_code: 'TAMPERING_DETECTED', metadata_json: null })
        })
        await fixture.append(events)
        const range = {
          ...(start === undefined ? {} : { start_time: start }),
          ...(end === undefined ? {} : { end_time: end }),
        }
        const request = { ...range, quietSeconds: QUIET, limit }
        assert.deepEqual(seenIn(await fixture.queries.episodes(request, NEVER)), naiveEpisodes(fixture.rows, request))
      }),
      { numRuns },
    )
  })
}
