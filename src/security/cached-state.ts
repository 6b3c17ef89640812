/**
 * A copy in memory of who may get in, in front of a security state that other instances write too.
 *
 * Promise, with the database at hand: what anybody committed is known here within POLL_MS and the time of one read, what this
 * instance committed as soon as `change` resolves, and nobody is refused because the copy is late, as `refresh` comes before a
 * refusal. Without it: logins are let in and refused by the copy, which counts for `trustMs` since the last read that succeeded
 * *began*. Then whoever asks is told STATE_UNAVAILABLE: nothing that was revoked elsewhere is accepted for longer than that. So is,
 * at once, whoever this instance changed and has not been able to read since.
 *
 * In the copy are all charge points with their usual networks, and all admins; so what is asked of it costs the same whether there
 * is such an id or not, and the first login after a start is as fast as the next. Everything else is asked of the database.
 *
 * The copy follows the *feed*, the numbered list of changes. Each read begins with the last change that was seen. If that is not
 * there any more, or another one (a failover lost it, the list was cut), everything is read anew; the copy counts meanwhile.
 *
 *   following   the last read succeeded
 *   away        it did not: the copy counts until its time is over, and `refresh` waits for nothing
 *
 * Polled, and not told by LISTEN: that needs the poll all the same, as notifications are lost with their connection, and a
 * connection for each instance, which poolers do not give. It would save half of POLL_MS on average.
 *
 * Owns the copy, and the one read at a time.
 */
import type { AuditLogger } from '../audit/audit-service.ts'
import { loggableError } from '../audit/redaction.ts'
import { Refusal } from '../errors.ts'
import type { AdminRecord, ChargePointRecord, SecurityState, StateTransaction } from './security-state.ts'

export interface FeedPosition {
  readonly number: number
  readonly mark: string
}

/** A charge point and the networks that are usual for it. */
export interface Visitor extends ChargePointRecord {
  readonly networks: readonly string[] | null
}

export interface FeedNews {
  readonly position: FeedPosition
  /** False: there is more behind the position. */
  readonly isAll: boolean
  /** Charge points that changed; those that are not among `chargePoints` are gone. */
  readonly names: ReadonlySet<string>
  readonly chargePoints: readonly Visitor[]
  /** All of them, if any changed. */
  readonly admins: readonly AdminRecord[] | undefined
}

export interface StateFeed {
  /** All there is at one moment, charge points a page at a time. */
  everything(
    take: (page: readonly Visitor[]) => void,
  ): Promise<{ position: FeedPosition; admins: readonly AdminRecord[] }>
  /** What changed behind a position; undefined when the feed does not have that one. */
  since(position: FeedPosition): Promise<FeedNews | undefined>
}

const POLL_MS = 200
const RETRY_AFTER_SECONDS = 2

/** Rejects when not even the first read succeeds. */
export async function openCachedState(deps: {
  state: SecurityState
  feed: StateFeed
  trustMs: number
  logger: Pick<AuditLogger, 'warn' | 'info'>
  /** Milliseconds that only grow. */
  now?: () => number
}): Promise<SecurityState> {
  const { state, feed, trustMs, logger, now = () => performance.now() } = deps
  let copy = await readEverything(feed)
  /** When the read began that the copy is of. */
  let readAt = now()
  let awayBecause: string | null = null
  /** What this instance changed, or may have, and has not read since. */
  const doubtful = new Set<string>()
  let running: Promise<void> | undefined
  let queued: Promise<void> | undefined
  let isClosed = false
  let timer = poll()

  /** A read that begins after the call. Never rejects. */
  function read(): Promise<void> {
    if (running !== undefined) {
      queued ??= running.then(() => {
        queued = undefined
        return read()
      })
      return queued
    }
    running = attempt().finally(() => {
      running = undefined
    })
    return running
  }

  async function attempt(): Promise<void> {
    const startedAt = now()
    try {
      copy = await brought(copy, feed)
      readAt = startedAt
      doubtful.clear()
      if (awayBecause !== null) logger.info('the security state can be read again')
      awayBecause = null
    } catch (error) {
      if (awayBecause === null) {
        logger.warn(
          { err: loggableError(error), trustMs },
          'the security state cannot be read; logins go on from the copy',
        )
      }
      awayBecause = error instanceof Error ? error.message : 'unknown'
    }
  }

  async function readOrDoubt(touched: ReadonlySet<string>): Promise<void> {
    await read()
    if (awayBecause !== null) for (const name of touched) doubtful.add(name)
  }

  function poll(): NodeJS.Timeout {
    return setTimeout(async () => {
      await read()
      if (!isClosed) timer = poll()
    }, POLL_MS).unref()
  }

  /** @throws {Refusal} STATE_UNAVAILABLE */
  function trusted(): Copy {
    if (now() - readAt <= trustMs) return copy
    throw unavailable('The security state could not be read for too long to rely on the last copy.')
  }

  /** @throws {Refusal} STATE_UNAVAILABLE */
  function certain<T>(name: string, found: T): T {
    if (!doubtful.has(name)) return found
    throw unavailable('This was changed, and the security state cannot be read since.')
  }

  return {
    ...state,
    chargePoint: async cpId => certain(nameOf(cpId), trusted().chargePoints.get(cpId)),
    hasChosenCredentials: async () => trusted().chosen.size > 0,
    isUsualAddress: async (cpId, network) => trusted().networks.get(cpId)?.includes(network) === true,
    async adminByKeyHash(keyHash) {
      const found = trusted().admins.find(admin => admin.key_hash === keyHash)
      return found && certain(adminNameOf(found.name), found)
    },
    admins: async () => trusted().admins.filter(admin => !doubtful.has(adminNameOf(admin.name))),

    async refresh() {
      if (awayBecause === null) await read()
    },
    async change(work) {
      const touched = new Set<string>()
      try {
        const result = await state.change(transaction => work(noting(transaction, touched)))
        await readOrDoubt(touched)
        return result
      } catch (error) {
        if (error instanceof Refusal && error.code === 'STATE_UNCERTAIN') await readOrDoubt(touched)
        throw error
      }
    },
    lastWriteError: () => awayBecause ?? state.lastWriteError(),
    async close() {
      isClosed = true
      clearTimeout(timer)
      await queued
      await running
      await state.close()
    },
  }
}

const nameOf = (cpId: string) => `charge point ${cpId}`
const adminNameOf = (name: string) => `admin ${name}`

/** Notes what of the copy a change touches. */
function noting(transaction: StateTransaction, touched: Set<string>): StateTransaction {
  return {
    ...transaction,
    putChargePoint(record) {
      touched.add(nameOf(record.cp_id))
      return transaction.putChargePoint(record)
    },
    removeChargePoint(cpId) {
      touched.add(nameOf(cpId))
      return transaction.removeChargePoint(cpId)
    },
    putAdmin(record) {
      touched.add(adminNameOf(record.name))
      return transaction.putAdmin(record)
    },
  }
}

function unavailable(detail: string): Refusal {
  return new Refusal('STATE_UNAVAILABLE', detail, { retryAfterSeconds: RETRY_AFTER_SECONDS })
}

interface Copy {
  position: FeedPosition
  readonly chargePoints: Map<string, ChargePointRecord>
  /** Of those that have any. */
  readonly networks: Map<string, readonly string[]>
  /** Ids with chosen credentials. */
  readonly chosen: Set<string>
  admins: readonly AdminRecord[]
}

async function readEverything(feed: StateFeed): Promise<Copy> {
  const fresh = { chargePoints: new Map(), networks: new Map(), chosen: new Set<string>() }
  const rest = await feed.everything(page => {
    for (const visitor of page) put(fresh, visitor)
  })
  return { ...fresh, ...rest }
}

/** The copy with all news, or a new one. */
async function brought(copy: Copy, feed: StateFeed): Promise<Copy> {
  for (;;) {
    const news = await feed.since(copy.position)
    if (news === undefined) return readEverything(feed)
    for (const name of news.names) remove(copy, name)
    for (const visitor of news.chargePoints) put(copy, visitor)
    if (news.admins !== undefined) copy.admins = news.admins
    copy.position = news.position
    if (news.isAll) return copy
  }
}

type ChargePoints = Pick<Copy, 'chargePoints' | 'networks' | 'chosen'>

function remove({ chargePoints, networks, chosen }: ChargePoints, cpId: string): void {
  chargePoints.delete(cpId)
  networks.delete(cpId)
  chosen.delete(cpId)
}

function put({ chargePoints, networks, chosen }: ChargePoints, { networks: usual, ...record }: Visitor): void {
  chargePoints.set(record.cp_id, record)
  if (usual !== null) networks.set(record.cp_id, usual)
  if (record.credential_kind === 'chosen') chosen.add(record.cp_id)
}
