/**
 * The audit library, for a Node service of one's own: the main export of the package.
 *
 * Promise: what `createAudit` returns records, detects and answers like the service's own audit trail, over one data
 * folder, with the same files in it. Recording never throws and never waits. Owns the data folder's lock until closed.
 * Must not know a framework; the adapters (fastify.ts, express.ts, node-http.ts) do, one each.
 */
import { pino } from 'pino'
import type { Audit } from '../audit/audit.ts'
import type { AuditLogger } from '../audit/audit-service.ts'
import { createContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { ACTIONS, INCIDENT, REASON, SEVERITIES } from '../event/catalogue.ts'
import type { StoredEvent } from '../event/event.ts'
import type { EventQueries, PageRequest } from '../query/event-queries.ts'
import { dataFolder, lockDataFolder } from '../service/data-folder.ts'
import { openPipeline, type Pipeline } from '../service/pipeline.ts'
import { releaseStartReserve } from '../service/start-reserve.ts'
import { type AuditReader, toFailuresRequest, toPageRequest } from './event-query.ts'

export type { KeyDetails, Metadata } from '../audit/audit.ts'
export type { AuditLogger } from '../audit/audit-service.ts'
export {
  createContext,
  currentContext,
  type RequestContext,
  runInContext,
} from '../context/context.ts'
export { Refusal } from '../errors.ts'
export {
  ACCESS,
  ACTIONS,
  type Access,
  type Action,
  INCIDENT,
  type Incident,
  REASON,
  type Reason,
  SEVERITIES,
  type Severity,
  type SystemReason,
} from '../event/catalogue.ts'
export type { StoredEvent } from '../event/event.ts'
export { type AuditDatabase, openAuditDatabase } from './audit-database.ts'
export type { AuditReader, EventQuery, FailureQuery } from './event-query.ts'

export interface AuditOptions {
  /** Folder of this audit trail; made if need be. One process at a time. */
  readonly dataDir: string
  /** A pino logger (Fastify's `app.log` is one). Silent without. */
  readonly logger?: AuditLogger | undefined
  /** How long an answer waits for its events to be durable; default 100 ms. */
  readonly ackTimeoutMs?: number | undefined
  /** Failures within the window that make an attack; default 5. */
  readonly bruteForceThreshold?: number | undefined
  /** Default 600. */
  readonly bruteForceWindowSeconds?: number | undefined
}

/** `deliver` is left out: it takes finished events, past the redaction. */
export interface EmbeddedAudit extends Omit<Audit, 'deliver'>, AuditReader, AsyncDisposable {
  readonly ACTIONS: typeof ACTIONS
  readonly SEVERITIES: typeof SEVERITIES
  readonly REASON: typeof REASON
  readonly INCIDENT: typeof INCIDENT

  /**
   * Resolves when everything recorded so far can be queried; usually within a quarter of a second.
   * @throws {Refusal} STORE_UNAVAILABLE after `timeoutMs` (default 10 s); the events are in the journal then.
   */
  flush(timeoutMs?: number): Promise<void>

  /** How the trail is doing, for a health check: what is recorded, lost, not on disk yet, not indexed yet. */
  status(): ReturnType<Pipeline['status']> & { recorded: number; lost: number; undeclaredLosses: number }

  /** Makes everything durable, indexes it, and frees the data folder. Safe to call twice. */
  close(): Promise<void>
}

const FLUSH_MS = 10_000

/**
 * Opens the audit trail of a data folder, and recovers it if the process before did not close it.
 * @throws {Refusal} DATA_FOLDER_IN_USE when it is open already, in this process or another one.
 * @throws {TypeError} when an option has a value it cannot have.
 */
export async function createAudit(options: AuditOptions): Promise<EmbeddedAudit> {
  const { dataDir, logger = pino({ level: 'silent' }) } = options
  if (typeof dataDir !== 'string' || dataDir === '') throw new TypeError('dataDir must name a folder')
  const tuning = {
    ackTimeoutMs: positive('ackTimeoutMs', options.ackTimeoutMs, 100),
    bruteForceThreshold: positive('bruteForceThreshold', options.bruteForceThreshold, 5),
    bruteForceWindowSeconds: positive('bruteForceWindowSeconds', options.bruteForceWindowSeconds, 600),
  }
  await using undo = new AsyncDisposableStack()
  const folder = dataFolder(dataDir)
  const startReserve = undo.use(releaseStartReserve(folder))
  const lock = undo.use(lockDataFolder(folder))
  const pipeline = await openPipeline({ folder, logger, ...tuning })
  undo.defer(async () => {
    await pipeline.close()
    if (pipeline.status().indexer.lagRecords === 0) lock.markClean()
  })
  if (lock.isAfterUncleanStop) {
    pipeline.audit.system('UNCLEAN_STOP', createContext(), {
      description: 'The process before this one did not stop cleanly',
    })
  }
  startReserve.setAside()
  return embed(pipeline, undo.move())
}

function embed(pipeline: Pipeline, owned: AsyncDisposableStack): EmbeddedAudit {
  const {
    deliver: _deliver,
    replay: _replay,
    declaration: _declaration,
    status: recording,
    ...methods
  } = pipeline.audit
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= owned.disposeAsync()
    return closing
  }
  return {
    ...methods,
    ACTIONS,
    SEVERITIES,
    REASON,
    INCIDENT,
    queryEvents: async (query = {}) => readAll(pipeline.queries, toPageRequest(query)),
    recentAuthFailures: async (query = {}) => pipeline.queries.failures(toFailuresRequest(query)),
    async flush(timeoutMs = FLUSH_MS) {
      if (await pipeline.caughtUp(timeoutMs)) return
      const { phase, lastError } = pipeline.status().indexer
      throw new Refusal('STORE_UNAVAILABLE', `Events are safe in the journal, but not indexed: ${lastError ?? phase}`)
    },
    status() {
      const { recorded, lost, undeclaredLosses } = recording()
      return { ...pipeline.status(), recorded, lost, undeclaredLosses }
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** A page may be short because time ran out; a list that says nothing of that must not be. */
async function readAll(queries: EventQueries, request: PageRequest): Promise<StoredEvent[]> {
  const events: StoredEvent[] = []
  for (let next: PageRequest | undefined = request; next !== undefined; ) {
    const page = await queries.page(next)
    events.push(...page.events)
    const isComplete = page.next === null || events.length >= request.limit
    next = isComplete ? undefined : { ...request, limit: request.limit - events.length, after: page.next as number }
  }
  return events
}

function positive(name: string, value: number | undefined, otherwise: number): number {
  if (value === undefined) return otherwise
  if (!Number.isSafeInteger(value) || value < 1) throw new TypeError(`${name} must be a whole number of at least 1`)
  return value
}
