/**
 * The security state's promise: charge points, keys, admins, used nonces and the outbox, kept apart from the audit
 * events. One contract suite (test/contract/security-state.ts) holds every implementation to it: SQLite,
 * PostgreSQL, and PostgreSQL behind a copy in memory.
 *
 * Other processes write the same state while we run (the command line, other instances). An implementation may answer from
 * a copy that is a moment old (cached-state.ts); who must not be, asks for a `refresh` first. No plain secret passes through
 * here: hashes, wrapped keys and nonces only.
 */
import type { AuditEvent } from '../event/event.ts'
import type { CpStatus, Role } from './security.ts'

export type CredentialKind = 'generated' | 'chosen'

export interface ChargePointRecord {
  readonly cp_id: string
  readonly location: string | null
  readonly security_status: CpStatus
  readonly credential_kind: CredentialKind
  /** As credentials.ts formats it. */
  readonly credential_hash: string
  /** Tokens of another version are refused. Starts at random (48 bits), so a re-registered id refuses its old tokens. */
  readonly token_version: number
  readonly created_at: string
  readonly updated_at: string
}

export interface KeyRecord {
  readonly key_id: string
  readonly cp_id: string
  readonly version: number
  /** As key-wrap.ts formats it. */
  readonly wrapped: Uint8Array
  readonly fingerprint: string
  readonly created_at: string
}

export interface AdminRecord {
  readonly name: string
  readonly role: Role
  /** HMAC of the key in hex; no two admins share one. */
  readonly key_hash: string
  readonly created_at: string
  readonly revoked_at: string | null
}

export interface SessionRecord {
  /** SHA-256 of its secret, in hex. */
  readonly id_hash: string
  readonly admin: string
  /** Of the key it was opened with: it ends with that key. */
  readonly key_hash: string
  readonly created_at: string
  readonly expires_at: string
  readonly ended_at: string | null
}

/** A charge point with what an operator wants to know about it. */
export interface StatusRecord {
  readonly cp_id: string
  readonly location: string | null
  readonly security_status: CpStatus
  readonly updated_at: string
  readonly key_version: number | null
  readonly key_created_at: string | null
  readonly last_success: string | null
}

export interface PageOfChargePoints {
  readonly status?: CpStatus
  readonly limit: number
  /** Only ids that begin so. */
  readonly prefix?: string
  /** Only ids behind this one. */
  readonly after?: string
}

export interface OutboxRow {
  readonly id: number
  readonly uuid: string
  readonly event: AuditEvent
}

/** A login to remember: when, and from which networks since the last time. */
export interface LastSeen {
  readonly cp_id: string
  readonly last_success: string
  readonly networks: readonly string[]
}

/** `gone`: the key is not the current one of any charge point. */
export type NonceVerdict = 'new' | 'repeated' | 'exhausted' | 'gone'

export interface SecurityState {
  /**
   * Resolves when reads see whatever anybody had committed before the call, or when that cannot be had now. To be awaited before
   * somebody is refused: nobody is told no because news of a yes has not come yet. Never rejects.
   */
  refresh(): Promise<void>
  /** Takes the same time whether or not there is such a charge point: logins ask before they know who asks. */
  chargePoint(cpId: string): Promise<ChargePointRecord | undefined>
  /** Ordered by cp_id (code point order), at most `limit`. */
  chargePoints(page: PageOfChargePoints): Promise<ChargePointRecord[]>
  status(cpId: string): Promise<StatusRecord | undefined>
  statuses(page: PageOfChargePoints): Promise<StatusRecord[]>
  /** How many charge points have each status; a status that none has may be left out. */
  statusCounts(): Promise<Partial<Record<CpStatus, number>>>
  hasChosenCredentials(): Promise<boolean>
  currentKey(cpId: string): Promise<KeyRecord | undefined>
  /** Revoked ones too. */
  adminByKeyHash(keyHash: string): Promise<AdminRecord | undefined>
  /** Ordered by name, revoked ones too. */
  admins(): Promise<AdminRecord[]>
  isUsualAddress(cpId: string, network: string): Promise<boolean>
  /** Ended ones too, until they are forgotten. */
  session(idHash: string): Promise<SessionRecord | undefined>

  /**
   * Runs `work` in one transaction: all it wrote is there, and durable, when this resolves; nothing of it when this
   * rejects. Changes are serial, across processes too: what `work` read is still true when it commits. `work` awaits
   * nothing but the transaction's methods.
   * @throws {Refusal} STATE_UNAVAILABLE when the database cannot be written now: its disk is full, failing or read-only, or
   * another process keeps it locked, or it cannot be reached. STATE_UNCERTAIN when it went away during the commit and did not
   * come back in time to say whether that happened. And whatever `work` throws.
   */
  change<T>(work: (transaction: StateTransaction) => Promise<T>): Promise<T>

  /**
   * Rows behind `after` in the order of their commits, at most `limit`. Ids grow in that order and are never used
   * again: once a row has been seen, none appears before it.
   */
  outbox(after: number, limit: number): Promise<OutboxRow[]>
  /** Forgets the rows up to `through`. May be undone by a power loss: a row delivered twice is recorded once. */
  deleteOutbox(through: number): Promise<void>

  /**
   * Marks a nonce of a current key as used, for as long as the key lives. Durable when it resolves; when it rejects
   * (STATE_UNAVAILABLE) the message must not be accepted.
   */
  useNonce(keyId: string, nonce: Uint8Array, noncesMax: number): Promise<NonceVerdict>
  /** Deletes some of the nonces of keys that are gone; true while there are more. */
  sweepNonces(): Promise<boolean>

  /**
   * Remembers logins; keeps the most recent networks of each charge point, at most `networksMax`. Unknown ids are
   * skipped. Survives a crash of the process, perhaps not a power loss.
   */
  saveLastSeen(logins: readonly LastSeen[], networksMax: number): Promise<void>

  /** Why nothing could be written the last time it was tried; null once something was. No secret, for operators. */
  lastWriteError(): string | null
  close(): Promise<void>
}

/** What a change may read and write. Reads see the writes before them. */
export interface StateTransaction {
  chargePoint(cpId: string): Promise<ChargePointRecord | undefined>
  /** Inserts or replaces. */
  putChargePoint(record: ChargePointRecord): Promise<void>
  /** With its keys, their history and nonces, and where it was last seen. */
  removeChargePoint(cpId: string): Promise<void>

  currentKey(cpId: string): Promise<KeyRecord | undefined>
  /** The highest version the charge point ever had, revoked ones included; 0 if none. */
  lastKeyVersion(cpId: string): Promise<number>
  /** A charge point has at most one current key. */
  addKey(record: KeyRecord): Promise<void>
  /** The key is no longer current: its wrapped bytes are wiped, version and fingerprint stay as history. */
  dropKey(keyId: string, at: string): Promise<void>

  admin(name: string): Promise<AdminRecord | undefined>
  adminByKeyHash(keyHash: string): Promise<AdminRecord | undefined>
  /** Revoked ones too. */
  admins(): Promise<AdminRecord[]>
  /** Inserts or replaces by name. */
  putAdmin(record: AdminRecord): Promise<void>

  session(idHash: string): Promise<SessionRecord | undefined>
  /** Those of an admin that have not ended, oldest first; some may have expired. */
  sessionsOf(admin: string): Promise<SessionRecord[]>
  /** Inserts or replaces. */
  putSession(record: SessionRecord): Promise<void>
  /** Forgets the sessions that expired before. */
  forgetSessions(before: string): Promise<void>

  /** Small facts about the state itself. */
  meta(name: string): Promise<string | undefined>
  putMeta(name: string, value: string): Promise<void>

  /** An event that is delivered after the commit, in order. */
  addToOutbox(uuid: string, event: AuditEvent): Promise<void>
}

/** The file cannot be used: not ours, or written by a newer version. */
export class SecurityStateError extends Error {
  override readonly name = 'SecurityStateError'
}
