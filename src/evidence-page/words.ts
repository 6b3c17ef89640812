/** What events are called in front of people who do not know the catalogue. */

const ACTION_WORDS: Readonly<Record<string, string>> = {
  AUTH_SUCCESS: 'Charge point logged in',
  AUTH_FAIL: 'Login refused',
  STATUS_CHANGE: 'Status of a charge point changed',
  KEY_GENERATE: 'Key issued to a charge point',
  KEY_RESET: 'Key of a charge point replaced',
  KEY_REVOKE: 'Key of a charge point revoked',
  VALIDATION_ERROR: 'Malformed request refused',
  ERROR: 'Error of the service',
  INCIDENT: 'Incident',
  ACCESS: 'Somebody worked with the audit trail',
  SECURITY_EVENT: 'Charge point reported a security event',
  SYSTEM: 'The service about itself',
}

const REASON_WORDS: Readonly<Record<string, string>> = {
  UNKNOWN_CP: 'unknown charge point',
  INVALID_CREDENTIALS: 'wrong credentials',
  REVOKED: 'its credentials were revoked',
  OUT_OF_SERVICE: 'it is out of service',
  EXPIRED_TOKEN: 'expired token',
  INVALID_TOKEN: 'invalid token',
  TOKEN_VERSION_MISMATCH: 'token from before its credentials changed',
  THROTTLED: 'slowed down after too many failures',
  BRUTE_FORCE_SUSPECTED: 'somebody seems to guess credentials',
  UNAUTHORIZED_ADMIN_ACCESS: 'access to administration without a valid key',
  TAMPERING_DETECTED: 'a message was tampered with',
  LOG_TAMPERED: 'the trail itself was changed',
  READ: 'looked at events',
  EXPORT: 'exported events',
  VERIFY: 'verified the trail',
  SIGNED_IN: 'signed in to the console',
  SIGNED_OUT: 'signed out of the console',
  ACKNOWLEDGED: 'took note of an incident',
  NOTED: 'wrote a note on an incident',
  RESOLVED: 'resolved an incident',
  STARTED: 'started',
  STOPPED: 'stopped',
  UNCLEAN_STOP: 'had not stopped cleanly',
  LOSS_DECLARED: 'events were lost',
  CLOCK_JUMPED: 'the clock jumped',
  JOURNAL_ADOPTED: 'events of a lost machine were recovered',
  MIGRATED: 'moved to PostgreSQL',
  CREDENTIALS_ISSUED: 'credentials issued',
  CP_REGISTERED: 'charge point registered',
  CP_DELETED: 'charge point deleted',
  ADMIN_ADDED: 'administrator added',
  ADMIN_REVOKED: 'administrator revoked',
  LOG_KEY_ROTATED: 'another key signs the log',
  CHECKPOINT_REFUSED: 'the log was not signed any more',
}

/** The action, and why. What has no words here is shown as the catalogue has it. */
export function titleOf({ action, reason_code }: { action: string; reason_code: string | null }): string {
  const title = ACTION_WORDS[action] ?? action
  return reason_code === null ? title : `${title}: ${reasonWords(reason_code)}`
}

export function reasonWords(reason: string): string {
  return REASON_WORDS[reason] ?? reason
}
