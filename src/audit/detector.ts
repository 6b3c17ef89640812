/**
 * Brute-force detection: sliding windows of failures by address (IPv6 by /64) and by charge point, in memory.
 *
 * Per subject: the times of its recent failures and, once the threshold is reached within the window, an *episode*.
 * An episode counts on while failures keep coming, is reported at threshold, 2x, 4x, 8x ..., and ends after a quiet
 * window. One failure yields at most one report even if its address and its charge point are both due, for they are
 * one attack. Times are those of a clock that only goes forward; what the wall clock says does not matter here.
 * State is a function of the recorded AUTH_FAIL and INCIDENT events, so a restart replays those through
 * the same functions and an attacker gains nothing from a crash. Failures that are rows have ids; then a report names its episode
 * by the failure that began it, and whoever reads the same rows comes to the same name (shared-detector.ts).
 */
import { networkOf } from '../context/client-address.ts'
import { LIMITS } from '../limits.ts'
import { createRecencyMap } from './recency-map.ts'

export type Scope = 'ip' | 'cp_id'

export interface BruteForceReport {
  readonly scope: Scope
  readonly failureCount: number
  /** How many charge points the address tried in this episode (`ip`), at most 64 counted; 1 for scope `cp_id`. */
  readonly distinctCpIds: number
  /** Id of the failure that reached the threshold; 0 where failures have none. */
  readonly episode: number
  /** Which of the counts at which an episode is reported it has reached: threshold, 2x, 4x ... */
  readonly step: number
}

export interface Detector {
  /** Counts one failure. `at` is in milliseconds and never before the one given last. */
  fail(ip: string, cpId: string, at: number, id?: number): void
  /** Whether either subject has reached the threshold within the window. */
  isSuspected(ip: string, cpId: string, at: number): boolean
  /** The report that is due, if any. It stays due until `markReported`. */
  due(ip: string, cpId: string, at: number): BruteForceReport | undefined
  markReported(ip: string, cpId: string, at: number): void
  /** What somebody else reported of an episode, who may have seen more of it than this one has. */
  takeOver(ip: string, cpId: string, at: number, reported: Omit<BruteForceReport, 'distinctCpIds' | 'step'>): void
  failuresInWindow(scope: Scope, subject: string, at: number): number
  /** Subjects held, for the memory bound. */
  readonly size: number
}

interface Subject {
  /** Failures within the window, oldest first; the last `timesMax` of them. */
  times: number[]
  /** Failures of the running episode; 0 when there is none. */
  episodeCount: number
  episode: number
  nextReport: number
  /** For an address: charge points tried in the episode or window. */
  readonly cpIds: Set<string>
}

const CP_IDS_MAX = 64
const TIMES_MAX = 128

export function createDetector(options: { threshold: number; windowMs: number }): Detector {
  const { threshold, windowMs } = options
  const timesMax = Math.max(threshold, TIMES_MAX)
  const subjects = {
    ip: createRecencyMap<Subject>(LIMITS.detectorSubjectsMax),
    cp_id: createRecencyMap<Subject>(LIMITS.detectorSubjectsMax),
  }
  const create = (): Subject => ({
    times: [],
    episodeCount: 0,
    episode: 0,
    nextReport: threshold,
    cpIds: new Set(),
  })

  /** Forgets what lies before the window; a window without a failure ends the episode. */
  function expire(subject: Subject, at: number): void {
    const last = subject.times.at(-1)
    if (last === undefined) return
    if (at - last > windowMs) {
      subject.times = []
      subject.episodeCount = 0
      subject.nextReport = threshold
      subject.cpIds.clear()
      return
    }
    let expired = 0
    while (at - (subject.times[expired] as number) > windowMs) expired++
    if (expired > 0) subject.times.splice(0, expired)
  }

  function count(subject: Subject, cpId: string, at: number, id: number): void {
    expire(subject, at)
    subject.times.push(at)
    if (subject.times.length > timesMax) subject.times.shift()
    if (subject.cpIds.size < CP_IDS_MAX) subject.cpIds.add(cpId)
    if (subject.episodeCount > 0) subject.episodeCount++
    else if (subject.times.length >= threshold) {
      subject.episodeCount = subject.times.length
      subject.episode = id
    }
  }

  function find(scope: Scope, name: string, at: number): Subject | undefined {
    const subject = subjects[scope].peek(name)
    if (subject !== undefined) expire(subject, at)
    return subject
  }

  function both(ip: string, cpId: string, at: number): [Subject | undefined, Subject | undefined] {
    return [find('ip', networkOf(ip), at), isNamed(cpId) ? find('cp_id', cpId, at) : undefined]
  }

  function reportOf(scope: Scope, subject: Subject): BruteForceReport {
    const { episodeCount: failureCount, episode, nextReport: step, cpIds } = subject
    return { scope, failureCount, distinctCpIds: scope === 'ip' ? cpIds.size : 1, episode, step }
  }

  const isDue = (subject: Subject | undefined): subject is Subject =>
    subject !== undefined && subject.episodeCount >= subject.nextReport

  return {
    fail(ip, cpId, at, id = 0) {
      if (ip !== '-') count(subjects.ip.touch(networkOf(ip), create), cpId, at, id)
      if (isNamed(cpId)) count(subjects.cp_id.touch(cpId, create), cpId, at, id)
    },
    isSuspected(ip, cpId, at) {
      return both(ip, cpId, at).some(subject => subject !== undefined && subject.episodeCount >= threshold)
    },
    due(ip, cpId, at) {
      const [address, chargePoint] = both(ip, cpId, at)
      if (isDue(address) && !(isDue(chargePoint) && chargePoint.episodeCount > address.episodeCount)) {
        return reportOf('ip', address)
      }
      return isDue(chargePoint) ? reportOf('cp_id', chargePoint) : undefined
    },
    markReported(ip, cpId, at) {
      for (const subject of both(ip, cpId, at)) {
        while (isDue(subject)) subject.nextReport *= 2
      }
    },
    takeOver(ip, cpId, at, { scope, failureCount, episode }) {
      const subject = subjects[scope].touch(scope === 'ip' ? networkOf(ip) : cpId, create)
      expire(subject, at)
      if (subject.times.length === 0) subject.times.push(at) // so that it ends a window later
      subject.episode = episode
      subject.episodeCount = Math.max(subject.episodeCount, failureCount)
      while (subject.nextReport <= failureCount) subject.nextReport *= 2
    },
    failuresInWindow(scope, name, at) {
      return find(scope, scope === 'ip' ? networkOf(name) : name, at)?.times.length ?? 0
    },
    get size() {
      return subjects.ip.size + subjects.cp_id.size
    },
  }
}

/** Failures without a charge point id count for their address only. */
function isNamed(cpId: string): boolean {
  return cpId !== '' && cpId !== 'unknown'
}
