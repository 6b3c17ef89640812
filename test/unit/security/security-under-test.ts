/** The security stage over its real SQLite state and the real audit service, with the journal's records in memory. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import pino from 'pino'
import { createAuditService } from '../../../src/audit/audit-service.ts'
import { createDetector } from '../../../src/audit/detector.ts'
import { createContext, runInContext } from '../../../src/context/context.ts'
import { type ErrorCode, Refusal } from '../../../src/errors.ts'
import { type Clock, systemClock } from '../../../src/event/clock.ts'
import { formatEntry, parseEntry } from '../../../src/event/codec.ts'
import type { AuditEvent, JournalEntry, StoredEvent } from '../../../src/event/event.ts'
import { createSecurity } from '../../../src/security/create-security.ts'
import type { Actor } from '../../../src/security/security.ts'
import { createSqliteSecurityState } from '../../../src/security/sqlite-security-state.ts'

export const SECRETS = {
  tokenSecret: Buffer.from('a token secret for tests only, long enough'),
  keyEncryptionKey: Buffer.from('a key-encryption key for tests, long enough'),
}
export const SETTINGS = { tokenTtlSeconds: 3600, bruteForceThreshold: 5, bruteForceWindowSeconds: 600 }
export const OPERATOR: Actor = { name: 'olga', role: 'operator' }
export const LOGGER = pino({ level: 'silent' })

export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evc-security-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A journal in memory: what it took, and whether it takes and makes durable at all. */
export function memoryJournal() {
  const entries: JournalEntry[] = []
  return {
    entries,
    isFull: false,
    isStalled: false,
    append(text: string): number {
      if (this.isFull) throw new Error('QUEUE_FULL')
      return entries.push(parseEntry(text))
    },
    async acknowledged(): Promise<'durable' | 'late'> {
      return this.isStalled ? 'late' : 'durable'
    },
  }
}

export function auditOver(journal: ReturnType<typeof memoryJournal>, settings = SETTINGS) {
  const windowSeconds = settings.bruteForceWindowSeconds
  const detector = createDetector({ threshold: settings.bruteForceThreshold, windowMs: windowSeconds * 1000 })
  const audit = createAuditService({ journal, detector, logger: LOGGER, windowSeconds })
  return { ...audit, settled: () => journal.acknowledged() as Promise<never> }
}

export async function openSecurity(
  t: TestContext,
  options: {
    path?: string
    settings?: typeof SETTINGS
    journal?: ReturnType<typeof memoryJournal>
    clock?: Clock
  } = {},
) {
  const path = options.path ?? join(temporaryFolder(t), 'security', 'security.db')
  const settings = options.settings ?? SETTINGS
  const journal = options.journal ?? memoryJournal()
  const audit = auditOver(journal, settings)
  const state = createSqliteSecurityState({ path })
  const security = await createSecurity({
    state,
    audit,
    secrets: SECRETS,
    settings,
    logger: LOGGER,
    clock: options.clock ?? systemClock,
  })
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= security.close().then(() => state.close())
    return closing
  }
  t.after(close)

  const events = () => journal.entries.map(entry => entry.event)
  return {
    ...security,
    path,
    state,
    journal,
    audit,
    events,
    close,
    /** Forgets the events so far, so that a test sees its own. */
    clear: () => void journal.entries.splice(0),
    /** `action reason_code` of every event, in order. */
    trail: () => events().map(event => [event.action, event.reason_code].filter(Boolean).join(' ')),
    /** The events as the store would return them. */
    stored: (): StoredEvent[] =>
      events().map((event, i) => ({ ...parseEntry(formatEntry(event)).event, id: i + 1, created_at: event.date_time })),
    last: (): AuditEvent => events().at(-1) as AuditEvent,
    register: (cp_id: string, credentials?: string) =>
      security.chargePoints.register({ cp_id, ...(credentials && { credentials }) }, OPERATOR),
  }
}

export type SecurityUnderTest = Awaited<ReturnType<typeof openSecurity>>

/** Runs work as a request from an address. */
export function from<T>(ip: string, work: () => T): T {
  return runInContext(createContext({ ip, endpoint: '/auth/credentials', httpMethod: 'POST' }), work)
}

/** The code a call is refused with, `ok` if it is not; anything else thrown is thrown on. */
export async function outcome(call: Promise<unknown>): Promise<ErrorCode | 'ok'> {
  try {
    await call
    return 'ok'
  } catch (error) {
    if (error instanceof Refusal) return error.code
    throw error
  }
}

export async function refusal(call: Promise<unknown>): Promise<Refusal> {
  try {
    await call
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
  throw new Error('the call was not refused')
}

export function metadataOf(event: AuditEvent): Record<string, unknown> {
  return event.metadata_json === null ? {} : JSON.parse(event.metadata_json)
}
