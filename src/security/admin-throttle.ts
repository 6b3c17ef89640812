/**
 * Wrong admin keys, counted by where they come from, in bounded memory and on the monotonic clock.
 *
 * A network is *open* until it has sent `adminGuessesMax` different wrong keys, or `adminWrongKeysMax` wrong ones
 * in all (a client with a stale key repeats one and guesses nothing). Then it is *closed*: wrong keys are 429, and one is
 * looked at as usual each time a delay has passed, which doubles with each of them: 2, 4, 8 ... seconds, up to
 * LIMITS.throttleDelaySecondsMax. It opens again after its delay and a quiet window. A request without a key guesses nothing
 * and is never throttled. A right key costs one HMAC and one read, so it is asked for first and always passes.
 *
 * An *episode* is all that is refused to a network until it was quiet for a window. Its first `adminIncidentsEachMax`
 * refusals are an incident each; from then on, and while the network is closed, only those that double the count are:
 * 20, 40, 80 ... So a scanner fills neither the trail nor the operator's screen.
 *
 * Owns the lanes, least recently seen forgotten first. Nothing survives a restart of an instance that is alone, which opens every
 * network again; where there are several, each counts the incidents of the others (`followed`).
 */
import { createRecencyMap } from '../audit/recency-map.ts'
import { LIMITS } from '../limits.ts'

export interface AdminThrottle {
  /** Counts a wrong key, `digest` telling it from others. Whole seconds to wait; 0: refuse it like any wrong key. */
  wrongKey(network: string, digest: string): number
  /**
   * Counts a refusal of any cause. How many it makes in its episode, if it is to be an incident; else undefined.
   * @param isThrottled whether it was refused for its number alone
   */
  incidentOf(network: string, isThrottled: boolean): number | undefined
  /** Counts a wrong key that another instance refused, and put on record. `digest` as above, or its beginning. */
  followed(network: string, digest: string): void
  /** Lanes held, for the memory bound. */
  readonly size: number
}

interface Lane {
  /** Different wrong keys, while open; short, as a collision costs nothing. */
  readonly guesses: Set<string>
  wrong: number
  refusals: number
  /** 0 while open; then the wrong keys that were looked at since it closed, the one that closed it included. */
  closedBy: number
  /** Time of the last wrong key that was looked at. */
  checkedAt: number
  /** Time of the last refusal. */
  refusedAt: number
}

/** What tells guesses apart, also in the trail. */
export const DIGEST_CHARACTERS = 8

/** @param now milliseconds that only grow */
export function createAdminThrottle(windowMs: number, now = () => performance.now()): AdminThrottle {
  const lanes = createRecencyMap<Lane>(LIMITS.throttleAddressesMax)

  function laneOf(network: string): Lane {
    const at = now()
    const lane = lanes.touch(network, () => openLane(at))
    if (at - lane.refusedAt > windowMs && at - lane.checkedAt > delayMs(lane) + windowMs) reset(lane)
    return lane
  }

  function count(lane: Lane, digest: string): void {
    lane.checkedAt = now()
    if (lane.closedBy > 0) {
      lane.closedBy++
      return
    }
    lane.wrong++
    lane.guesses.add(digest.slice(0, DIGEST_CHARACTERS))
    if (lane.guesses.size >= LIMITS.adminGuessesMax || lane.wrong >= LIMITS.adminWrongKeysMax) {
      lane.closedBy = 1
      lane.guesses.clear()
    }
  }

  return {
    wrongKey(network, digest) {
      const lane = laneOf(network)
      const waitMs = lane.closedBy === 0 ? 0 : lane.checkedAt + delayMs(lane) - now()
      if (waitMs > 0) return Math.ceil(waitMs / 1000)
      count(lane, digest)
      return 0
    },

    followed(network, digest) {
      const lane = laneOf(network)
      lane.refusedAt = now()
      lane.refusals++
      count(lane, digest)
    },

    incidentOf(network, isThrottled) {
      const lane = laneOf(network)
      lane.refusedAt = now()
      const count = ++lane.refusals
      if (!isThrottled && count <= LIMITS.adminIncidentsEachMax) return count
      return isDoubling(count) ? count : undefined
    },

    get size() {
      return lanes.size
    },
  }
}

function openLane(at: number): Lane {
  return { guesses: new Set(), wrong: 0, refusals: 0, closedBy: 0, checkedAt: at, refusedAt: at }
}

function reset(lane: Lane): void {
  lane.guesses.clear()
  lane.wrong = 0
  lane.refusals = 0
  lane.closedBy = 0
}

function delayMs(lane: Lane): number {
  return lane.closedBy === 0 ? 0 : Math.min(2 ** lane.closedBy, LIMITS.throttleDelaySecondsMax) * 1000
}

/** 20, 40, 80 ... */
function isDoubling(count: number): boolean {
  return count % LIMITS.adminGuessesMax === 0 && Number.isInteger(Math.log2(count / LIMITS.adminGuessesMax))
}
