/**
 * The event catalogue: which actions there are, how severe each is, and the closed list of reason codes.
 *
 * The first nine actions are those of the original audit system; ACCESS, SECURITY_EVENT and SYSTEM are the house's
 * own. Sub-types never become actions: they go into `reason_code`.
 */

export const ACTIONS = [
  'AUTH_SUCCESS',
  'AUTH_FAIL',
  'STATUS_CHANGE',
  'KEY_GENERATE',
  'KEY_RESET',
  'KEY_REVOKE',
  'VALIDATION_ERROR',
  'ERROR',
  'INCIDENT',
  'ACCESS',
  'SECURITY_EVENT',
  'SYSTEM',
] as const
export type Action = (typeof ACTIONS)[number]

/**
 * Actions whose `who` is a charge point. Full segments have been counted by it (store/segment-counts.ts): a change for an
 * action that has rows needs a migration that counts them anew.
 */
export const CHARGE_POINT_ACTIONS: ReadonlySet<string> = new Set<Action>([
  'AUTH_SUCCESS',
  'AUTH_FAIL',
  'STATUS_CHANGE',
  'KEY_GENERATE',
  'KEY_RESET',
  'KEY_REVOKE',
  'SECURITY_EVENT',
])

export const SEVERITIES = ['INFO', 'WARN', 'ERROR', 'CRITICAL'] as const
export type Severity = (typeof SEVERITIES)[number]

/** Why a login was refused (`reason_code` of AUTH_FAIL). */
export const REASON = {
  UNKNOWN_CP: 'UNKNOWN_CP',
  INVALID_CREDENTIALS: 'INVALID_CREDENTIALS',
  REVOKED: 'REVOKED',
  OUT_OF_SERVICE: 'OUT_OF_SERVICE',
  EXPIRED_TOKEN: 'EXPIRED_TOKEN',
  INVALID_TOKEN: 'INVALID_TOKEN',
  TOKEN_VERSION_MISMATCH: 'TOKEN_VERSION_MISMATCH',
  THROTTLED: 'THROTTLED',
} as const
export type Reason = (typeof REASON)[keyof typeof REASON]

/** Refused although the secret was right: a failed login, but nobody guessed. What it is not, is brute force. */
export const NOT_A_GUESS: ReadonlySet<string | null> = new Set([REASON.REVOKED, REASON.OUT_OF_SERVICE])

/** What kind of incident (`reason_code` of INCIDENT). */
export const INCIDENT = {
  BRUTE_FORCE_SUSPECTED: 'BRUTE_FORCE_SUSPECTED',
  UNAUTHORIZED_ADMIN_ACCESS: 'UNAUTHORIZED_ADMIN_ACCESS',
  TAMPERING_DETECTED: 'TAMPERING_DETECTED',
  LOG_TAMPERED: 'LOG_TAMPERED',
} as const
export type Incident = (typeof INCIDENT)[keyof typeof INCIDENT]

/** What a person did with the trail (`reason_code` of ACCESS). The last three handle an incident, `metadata.incident`. */
export const ACCESS = {
  READ: 'READ',
  EXPORT: 'EXPORT',
  VERIFY: 'VERIFY',
  SIGNED_IN: 'SIGNED_IN',
  SIGNED_OUT: 'SIGNED_OUT',
  ACKNOWLEDGED: 'ACKNOWLEDGED',
  NOTED: 'NOTED',
  RESOLVED: 'RESOLVED',
} as const
export type Access = (typeof ACCESS)[keyof typeof ACCESS]

/** What the service says about itself (`reason_code` of SYSTEM), with the severity it is recorded at. */
export const SYSTEM_SEVERITY = {
  STARTED: 'INFO',
  STOPPED: 'INFO',
  UNCLEAN_STOP: 'WARN',
  IMPORTED: 'INFO',
  CP_REGISTERED: 'INFO',
  CP_DELETED: 'WARN',
  CREDENTIALS_ISSUED: 'WARN',
  ADMIN_ADDED: 'WARN',
  ADMIN_REVOKED: 'WARN',
  LOSS_DECLARED: 'CRITICAL',
  CLOCK_JUMPED: 'WARN',
  BACKED_UP: 'INFO',
  RESTORED: 'WARN',
  MIGRATED: 'WARN',
  JOURNAL_ADOPTED: 'WARN',
  ROLLED_BACK: 'CRITICAL',
  ARCHIVED: 'INFO',
  HOLD_PLACED: 'INFO',
  HOLD_LIFTED: 'WARN',
  ERASED: 'WARN',
  LOG_KEY_ROTATED: 'WARN',
  CHECKPOINT_REFUSED: 'CRITICAL',
} as const satisfies Record<string, Severity>
export type SystemReason = keyof typeof SYSTEM_SEVERITY
export const SYSTEM = Object.fromEntries(Object.keys(SYSTEM_SEVERITY).map(name => [name, name])) as {
  readonly [K in SystemReason]: K
}

/** Metadata names that contain a forbidden word (`key`, `token`, ...) and are known to hold no secret. */
export const SAFE_METADATA_NAMES: ReadonlySet<string> = new Set([
  'key_id',
  'key_version',
  'key_age_seconds',
  'has_key',
  'token_type',
  'token_version',
])
