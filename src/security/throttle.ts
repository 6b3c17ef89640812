/**
 * The throttle: how long an attempt to guess has to wait, in bounded memory.
 *
 * Failures are counted in *lanes*. A lane that reaches its limit within the window closes; from then on one attempt
 * is let through each time a delay has passed since the last one that was checked, and the delay doubles with every
 * failure: 2, 4, 8 ... seconds, up to LIMITS.throttleDelaySecondsMax. Three lanes may hold up one attempt:
 *
 *   pair          (network, cp_id)   closes at `threshold` failures
 *   address       network            closes when more than 4x threshold different ids have failed from it
 *   charge point  cp_id              closes at more than 4x threshold failures, whatever addresses they come from
 *
 * An attempt from a *usual* address of its charge point (it has logged in from there before) neither fills nor minds
 * the last two, and the lane of a charge point holds up only addresses that have failed at it themselves: so nobody shuts out a
 * charge point by its public id, wherever it comes from, nor all of a carrier's network by one bad device. The price: each address
 * that a guesser has is good for one guess.
 * Whether an id exists makes no difference to any lane, so nothing here tells an outsider that it does.
 *
 * An attempt is counted as failed the moment it is admitted and taken back when it succeeds. Counted afterwards, a
 * thousand attempts sent at once would all be admitted before the first of them has failed.
 */
import { createRecencyMap, type RecencyMap } from '../audit/recency-map.ts'
import { LIMITS } from '../limits.ts'

export interface Attempt {
  /** As networkOf() spells it, or `-` where there is no address. */
  readonly network: string
  readonly cpId: string
  readonly isUsual: boolean
}

export interface Throttle {
  /**
   * Whole seconds to wait, or 0: admitted, and counted as failed until `succeeded` or `cancelled` takes that back.
   * A refused attempt changes nothing. `at` is in milliseconds, of a clock that only goes forward.
   */
  admit(attempt: Attempt, at: number): number
  /** Opens the pair's lane; the lanes it shares with others only lose this attempt. */
  succeeded(attempt: Attempt): void
  /** The same for an attempt that needed no admission. */
  passed(network: string, cpId: string): void
  /** It was not checked after all. */
  cancelled(attempt: Attempt): void
  /** Counts a failure of the past, after a restart, or one of another instance. Oldest first. */
  replay(attempt: Attempt, at: number): void
  /** Lanes held, for the memory bound. */
  readonly size: number
}

const SHARED_LANE_FACTOR = 4

interface Lane {
  /** Failures that close it. */
  readonly limit: number
  /** Failures within the window, oldest first; no longer kept once the lane is closed. */
  readonly times: number[]
  /** In the lane of an address: the id each of them was for; an id counts once. */
  readonly ids: string[] | undefined
  /** 0 while open; then the failures since it closed, the one that closed it included. */
  closedBy: number
  /** Time of the last failure. */
  lastAt: number
}

export function createThrottle(options: {
  threshold: number
  windowMs: number
  /** Whether failures for one id from many addresses count together: where a secret could be guessed at all. */
  acrossAddresses: boolean
}): Throttle {
  const { threshold, windowMs, acrossAddresses } = options
  const sharedLimit = threshold * SHARED_LANE_FACTOR + 1
  const pairs = createRecencyMap<Lane>(LIMITS.throttlePairsMax)
  const addresses = createRecencyMap<Lane>(LIMITS.throttleAddressesMax)
  const chargePoints = createRecencyMap<Lane>(LIMITS.throttlePairsMax)

  const openLane = (limit: number, ids?: string[]): Lane => ({ limit, times: [], ids, closedBy: 0, lastAt: 0 })
  const openPair = () => openLane(threshold)
  const openAddress = () => openLane(sharedLimit, [])
  const openChargePoint = () => openLane(sharedLimit)

  /** The lanes an attempt runs in: found with `peek`, or made with `touch`. */
  function lanesOf(
    attempt: Attempt,
    find: (map: RecencyMap<Lane>, name: string, open: () => Lane) => Lane | undefined,
  ) {
    const lanes = [find(pairs, pairOf(attempt.network, attempt.cpId), openPair)]
    if (!attempt.isUsual) {
      if (attempt.network !== '-') lanes.push(find(addresses, attempt.network, openAddress))
      if (acrossAddresses) lanes.push(find(chargePoints, attempt.cpId, openChargePoint))
    }
    return lanes.filter(lane => lane !== undefined)
  }

  function lanesThatHoldUp(attempt: Attempt): Lane[] {
    const lanes = lanesOf(attempt, peek)
    const pair = pairs.peek(pairOf(attempt.network, attempt.cpId))
    const hasFailed = pair !== undefined && (pair.closedBy > 0 || pair.times.length > 0)
    const shared = chargePoints.peek(attempt.cpId)
    return hasFailed ? lanes : lanes.filter(lane => lane !== shared)
  }

  function count(attempt: Attempt, at: number): void {
    for (const lane of lanesOf(attempt, touch)) countIn(lane, attempt.cpId, at, windowMs)
  }

  function takeBack(attempt: Attempt): void {
    for (const lane of lanesOf(attempt, peek)) takeBackIn(lane, attempt.cpId)
  }

  return {
    admit(attempt, at) {
      let waitMs = 0
      for (const lane of lanesThatHoldUp(attempt)) waitMs = Math.max(waitMs, waitIn(lane, at))
      if (waitMs > 0) return Math.ceil(waitMs / 1000)
      count(attempt, at)
      return 0
    },
    succeeded(attempt) {
      takeBack(attempt)
      pairs.delete(pairOf(attempt.network, attempt.cpId))
    },
    passed: (network, cpId) => pairs.delete(pairOf(network, cpId)),
    cancelled: takeBack,
    replay: count,
    get size() {
      return pairs.size + addresses.size + chargePoints.size
    },
  }
}

const pairOf = (network: string, cpId: string) => `${network} ${cpId}`
const touch = (map: RecencyMap<Lane>, name: string, open: () => Lane) => map.touch(name, open)
const peek = (map: RecencyMap<Lane>, name: string) => map.peek(name)

function delayMs(lane: Lane): number {
  return Math.min(2 ** lane.closedBy, LIMITS.throttleDelaySecondsMax) * 1000
}

function waitIn(lane: Lane, at: number): number {
  if (lane.closedBy === 0) return 0
  return Math.max(0, lane.lastAt + delayMs(lane) - at)
}

function countIn(lane: Lane, cpId: string, at: number, windowMs: number): void {
  forget(lane, at, windowMs)
  lane.lastAt = Math.max(lane.lastAt, at) // one that another instance counted may come a moment late
  if (lane.closedBy > 0) {
    lane.closedBy++
    return
  }
  if (lane.ids !== undefined) {
    const known = lane.ids.indexOf(cpId)
    if (known >= 0) {
      lane.ids.splice(known, 1)
      lane.times.splice(known, 1)
    }
    lane.ids.push(cpId)
  }
  lane.times.push(at)
  if (lane.times.length >= lane.limit) lane.closedBy = 1
}

function takeBackIn(lane: Lane, cpId: string): void {
  if (lane.closedBy > 1) {
    lane.closedBy--
    return
  }
  lane.closedBy = 0
  const last = lane.ids === undefined ? lane.times.length - 1 : lane.ids.lastIndexOf(cpId)
  if (last < 0) return // expired meanwhile
  lane.times.splice(last, 1)
  lane.ids?.splice(last, 1)
}

/** An open lane forgets what lies before the window; a closed one opens after its delay and a quiet window. */
function forget(lane: Lane, at: number, windowMs: number): void {
  let expired = 0
  if (lane.closedBy > 0) {
    if (at - lane.lastAt <= delayMs(lane) + windowMs) return
    lane.closedBy = 0
    expired = lane.times.length
  }
  while (expired < lane.times.length && at - (lane.times[expired] as number) > windowMs) expired++
  lane.times.splice(0, expired)
  lane.ids?.splice(0, expired)
}
