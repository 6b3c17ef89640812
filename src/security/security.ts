/**
 * The security stage's promise: who may do what, decided in one place for every door.
 *
 * A decision and its audit event are never one without the other: refusals and logins are recorded through the audit
 * service before the decision is returned, changes of state write their event in the same transaction (outbox).
 * Nothing here knows HTTP. Refusals are thrown as `Refusal` with a code of the error table.
 */

export const CP_STATUSES = ['ACTIVE', 'OUT_OF_SERVICE', 'REVOKED'] as const
export type CpStatus = (typeof CP_STATUSES)[number]

export const ROLES = ['admin', 'operator', 'auditor'] as const
export type Role = (typeof ROLES)[number]

/** An authenticated operator. */
export interface Actor {
  readonly name: string
  readonly role: Role
}

export interface ChargePoint {
  readonly cp_id: string
  readonly location: string | null
  readonly security_status: CpStatus
}

export interface Login extends ChargePoint {
  readonly token: string
  /** Seconds. */
  readonly expires_in: number
}

export interface KeyInfo {
  readonly cp_id: string
  readonly key_id: string
  readonly version: number
  /** First 16 hex digits of SHA-256 of the key: tells keys apart without giving one away. */
  readonly fingerprint: string
}

export interface StatusChange {
  readonly cp_id: string
  readonly old_status: CpStatus
  readonly new_status: CpStatus
}

export interface SecurityStatus {
  readonly cp_id: string
  readonly location: string | null
  readonly security_status: CpStatus
  readonly has_key: boolean
  readonly key_version: number | null
  /** Whole seconds since the current key was made. */
  readonly key_age_seconds: number | null
  readonly last_success: string | null
  readonly failures_in_window: number
  readonly updated_at: string
}

export interface Admin {
  readonly name: string
  readonly role: Role
  readonly created_at: string
  readonly revoked_at: string | null
}

/** Of a person at a browser. Its secret is only ever given to whoever opened it. */
export interface Session extends Actor {
  /** When it ends unless it is renewed. */
  readonly expires_at: string
}

/** What a person did about an incident. */
export type IncidentStep = 'ACKNOWLEDGED' | 'NOTED' | 'RESOLVED'

export interface Security {
  readonly chargePoints: {
    /** @throws {Refusal} CP_EXISTS */
    register(
      input: { cp_id: string; location?: string; credentials?: string },
      actor: Actor,
    ): Promise<ChargePoint & { credentials?: string }>
    /** New generated credentials; the old ones and every token stop working at once. @throws {Refusal} CP_NOT_FOUND */
    reissueCredentials(
      cpId: string,
      reason: string | undefined,
      actor: Actor,
    ): Promise<ChargePoint & { credentials: string }>
    /** Ordered by cp_id; `after` is the last cp_id of the page before. */
    list(request: {
      status?: CpStatus
      prefix?: string
      limit: number
      after?: string
    }): Promise<{ charge_points: ChargePoint[]; next: string | null }>
    /** @throws {Refusal} CP_NOT_FOUND */
    remove(cpId: string, actor: Actor): Promise<void>
    /** @throws {Refusal} CP_NOT_FOUND */
    status(cpId: string): Promise<SecurityStatus>
    statuses(request: {
      status?: CpStatus
      prefix?: string
      limit: number
      after?: string
    }): Promise<{ charge_points: SecurityStatus[]; next: string | null }>
    counts(): Promise<Readonly<Record<CpStatus, number>>>
  }

  readonly authentication: {
    /** @throws {Refusal} AUTHENTICATION_FAILED, CP_REVOKED, CP_OUT_OF_SERVICE, TOO_MANY_ATTEMPTS */
    byCredentials(cpId: string, credentials: string): Promise<Login>
    /** @throws {Refusal} as above */
    byToken(cpId: string, token: string): Promise<Login>
    /** For requests a charge point makes with a bearer token; the cp_id is the token's. @throws {Refusal} as above */
    bearer(token: string | undefined): Promise<ChargePoint>
  }

  readonly keys: {
    /** @throws {Refusal} CP_NOT_FOUND, KEY_EXISTS, CP_NOT_ACTIVE */
    generate(cpId: string, reason: string | undefined, actor: Actor): Promise<KeyInfo>
    /** @throws {Refusal} CP_NOT_FOUND, KEY_NOT_FOUND, CP_NOT_ACTIVE (REVOKED) */
    reset(cpId: string, reason: string | undefined, actor: Actor): Promise<KeyInfo>
    /** @throws {Refusal} CP_NOT_FOUND, KEY_NOT_FOUND */
    revoke(cpId: string, reason: string | undefined, actor: Actor): Promise<KeyInfo>
    /** The plaintext key, base64, for its charge point only. @throws {Refusal} KEY_NOT_FOUND */
    current(cpId: string): Promise<KeyInfo & { algorithm: 'AES-256-GCM'; key: string }>
  }

  readonly messages: {
    /**
     * Opens nonce(12) || ciphertext || tag(16).
     * @throws {Refusal} KEY_NOT_FOUND, KEY_EXHAUSTED, TAMPERING_DETECTED, VALIDATION_FAILED (not base64, too short)
     */
    accept(cpId: string, payload: string): Promise<{ accepted: true; cp_id: string; key_version: number }>
  }

  readonly status: {
    /** @throws {Refusal} CP_NOT_FOUND, INVALID_TRANSITION */
    outOfService(cpId: string, reason: string, actor: Actor): Promise<StatusChange>
    restore(cpId: string, reason: string | undefined, actor: Actor): Promise<StatusChange>
    revoke(cpId: string, reason: string, actor: Actor): Promise<StatusChange>
  }

  readonly admins: {
    /**
     * The admin a key belongs to. Records the UNAUTHORIZED_ADMIN_ACCESS incident before it throws; of a flood, the first
     * ones and then fewer (admin-throttle.ts). @throws {Refusal} UNAUTHORIZED, FORBIDDEN, TOO_MANY_ATTEMPTS
     */
    authorize(key: string | undefined, allowed: readonly Role[]): Promise<Actor>
    /** Whether it is the key of an admin now, and not one that was replaced. Records nothing. */
    isKey(key: string): Promise<boolean>
    /** @throws {Refusal} ADMIN_EXISTS */
    add(name: string, role: Role, actor: Actor): Promise<Admin & { key: string }>
    list(): Promise<Admin[]>
    /** @throws {Refusal} ADMIN_NOT_FOUND, LAST_ADMIN */
    revoke(name: string, actor: Actor): Promise<void>
  }

  readonly sessions: {
    /** Signs in. `secret` is what the session is known by from now on. @throws {Refusal} as `admins.authorize` */
    open(key: string): Promise<Session & { readonly secret: string }>
    /**
     * Whose session it is. Records the incident before it throws, but for SESSION_ENDED: whoever was signed in guesses
     * nothing. @throws {Refusal} SESSION_ENDED, UNAUTHORIZED, FORBIDDEN, TOO_MANY_ATTEMPTS
     */
    authorize(secret: string, allowed: readonly Role[]): Promise<Session>
    /** Records nothing. */
    isOpen(secret: string): Promise<boolean>
    /** @throws {Refusal} SESSION_ENDED */
    renew(secret: string): Promise<Session>
    /** Signs out: ends this one, or all of its admin. */
    end(secret: string, which: 'this' | 'all'): Promise<void>
  }

  readonly incidents: {
    /** Puts on record what somebody did about an incident. Whether there is one is for the caller to know. */
    handle(incident: number, step: IncidentStep, note: string | undefined, actor: Actor): Promise<void>
  }
}
