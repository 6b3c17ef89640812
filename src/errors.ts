/**
 * The one table of refusals and failures: code -> HTTP status, title, whether to try again, exit code.
 *
 * Parts below the doors throw `Refusal` with a code; only a door (HTTP, CLI) looks the rest up. The reference page
 * docs/errors.md is generated from here. Three fates (the `retry` column): *refused* = the caller's fault, nothing was
 * written, `no`; *busy* = bounded, try again, `after a while`; *failed* = ours, try again or ask the operator.
 */
interface ErrorEntry {
  readonly status: number
  readonly title: string
  readonly retry: 'no' | 'after a while'
  /** Exit code of the command line. */
  readonly exit: number
  readonly help: string
}

export const ERRORS = {
  VALIDATION_FAILED: {
    status: 422,
    title: 'The request is not valid',
    retry: 'no',
    exit: 2,
    help: 'Correct the fields named in `errors`.',
  },
  PAYLOAD_TOO_LARGE: {
    status: 413,
    title: 'The body is too large',
    retry: 'no',
    exit: 2,
    help: 'Send at most 64 KiB.',
  },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    title: 'The body is not JSON',
    retry: 'no',
    exit: 2,
    help: 'Send `Content-Type: application/json`.',
  },
  BAD_REQUEST: {
    status: 400,
    title: 'The request is not HTTP',
    retry: 'no',
    exit: 2,
    help: 'The bytes could not be read as an HTTP/1.1 request.',
  },
  URI_TOO_LONG: {
    status: 414,
    title: 'The address is too long',
    retry: 'no',
    exit: 2,
    help: 'Send at most 8 KiB of path and query.',
  },
  HEADERS_TOO_LARGE: {
    status: 431,
    title: 'The headers are too large',
    retry: 'no',
    exit: 2,
    help: 'Send at most 16 KiB of headers.',
  },
  REQUEST_TIMEOUT: {
    status: 408,
    title: 'The request took too long to arrive',
    retry: 'after a while',
    exit: 1,
    help: 'Headers are awaited for 10 s, a whole request for 15 s.',
  },
  NOT_SIGNED_YET: {
    status: 503,
    title: 'No signed checkpoint covers the event yet',
    retry: 'after a while',
    exit: 1,
    help: 'A checkpoint is signed every second while there is news; `/ready` says why when it is not, in detail to whoever has a key.',
  },
  EVIDENCE_TOO_LARGE: {
    status: 422,
    title: 'Too many events for one evidence pack',
    retry: 'no',
    exit: 2,
    help: 'A pack holds at most 100,000 events and 512 MiB. Ask for a shorter time, or for one charge point.',
  },
  LOG_KEYS_UNUSABLE: {
    status: 503,
    title: 'The keys of the log cannot be used',
    retry: 'no',
    exit: 1,
    help: 'Put the private key back into `log-keys` of the data folder, or begin a new log with another `EVC_LOG_ORIGIN`. With PostgreSQL: into the table `log_keys`; the origin has to be that of the log.',
  },
  NOT_FOUND: {
    status: 404,
    title: 'There is nothing at this address',
    retry: 'no',
    exit: 2,
    help: 'The routes are listed at /docs.',
  },
  METHOD_NOT_ALLOWED: {
    status: 405,
    title: 'The address does not take this method',
    retry: 'no',
    exit: 2,
    help: 'The `Allow` header lists the methods that it takes.',
  },
  AUTHENTICATION_FAILED: {
    status: 401,
    title: 'Authentication failed',
    retry: 'no',
    exit: 3,
    help: 'The id, the secret or the token is wrong. Which of them is told only to the audit trail.',
  },
  CP_REVOKED: {
    status: 403,
    title: 'The charge point is revoked',
    retry: 'no',
    exit: 3,
    help: 'An operator can bring it back: /status/out-of-service, then /status/restore.',
  },
  CP_OUT_OF_SERVICE: {
    status: 403,
    title: 'The charge point is out of service',
    retry: 'no',
    exit: 3,
    help: 'An operator can bring it back: /status/restore.',
  },
  TOO_MANY_ATTEMPTS: {
    status: 429,
    title: 'Too many failed attempts',
    retry: 'after a while',
    exit: 3,
    help: 'Wait for the seconds in `Retry-After`.',
  },
  UNAUTHORIZED: {
    status: 401,
    title: 'An admin key is required',
    retry: 'no',
    exit: 3,
    help: 'Send a valid key in `X-Admin-Key`.',
  },
  FORBIDDEN: {
    status: 403,
    title: 'The role does not allow this',
    retry: 'no',
    exit: 3,
    help: 'Use the key of an admin whose role allows it.',
  },
  SESSION_ENDED: {
    status: 401,
    title: 'The session has ended',
    retry: 'no',
    exit: 3,
    help: 'Sign in again.',
  },
  CP_EXISTS: {
    status: 409,
    title: 'The charge point exists already',
    retry: 'no',
    exit: 2,
    help: 'Choose another cp_id, or issue new credentials for this one.',
  },
  CP_NOT_FOUND: {
    status: 404,
    title: 'There is no such charge point',
    retry: 'no',
    exit: 2,
    help: 'Register it: POST /charge-points.',
  },
  CP_NOT_ACTIVE: {
    status: 409,
    title: 'The charge point is not in a state that allows this',
    retry: 'no',
    exit: 2,
    help: 'Restore it first.',
  },
  INVALID_TRANSITION: {
    status: 409,
    title: 'The status cannot change that way',
    retry: 'no',
    exit: 2,
    help: 'ACTIVE <-> OUT_OF_SERVICE, either -> REVOKED, REVOKED -> OUT_OF_SERVICE.',
  },
  KEY_EXISTS: {
    status: 409,
    title: 'The charge point has a key already',
    retry: 'no',
    exit: 2,
    help: 'Reset it: POST /keys/reset.',
  },
  KEY_NOT_FOUND: {
    status: 404,
    title: 'The charge point has no key',
    retry: 'no',
    exit: 2,
    help: 'Generate one: POST /keys/generate.',
  },
  KEY_EXHAUSTED: {
    status: 409,
    title: 'The key has been used too often',
    retry: 'no',
    exit: 2,
    help: 'Reset it: POST /keys/reset.',
  },
  TAMPERING_DETECTED: {
    status: 400,
    title: 'The message is not authentic',
    retry: 'no',
    exit: 3,
    help: 'The tag, the key or the nonce is wrong; the incident is on record.',
  },
  EVENT_NOT_FOUND: {
    status: 404,
    title: 'There is no such event',
    retry: 'no',
    exit: 2,
    help: 'Ids count from 1; a new event is visible within a quarter of a second.',
  },
  ADMIN_EXISTS: { status: 409, title: 'The admin exists already', retry: 'no', exit: 2, help: 'Choose another name.' },
  ADMIN_NOT_FOUND: {
    status: 404,
    title: 'There is no such admin',
    retry: 'no',
    exit: 2,
    help: 'List them: ev-central admin list.',
  },
  LAST_ADMIN: {
    status: 409,
    title: 'The last admin cannot be revoked',
    retry: 'no',
    exit: 2,
    help: 'Add another one first.',
  },
  FOREIGN_FILE: {
    status: 422,
    title: 'The file is not a database of the reference implementation',
    retry: 'no',
    exit: 2,
    help: 'Nothing was written.',
  },
  DATA_FOLDER_IN_USE: {
    status: 409,
    title: 'Another process uses this data folder',
    retry: 'no',
    exit: 2,
    help: 'Stop it, or set EVC_DATA_DIR to another folder.',
  },
  JOURNAL_BEHIND: {
    status: 409,
    title: 'The journal is older than the event database',
    retry: 'no',
    exit: 2,
    help: 'An old copy of the journal was restored, or another copy of it is in use, as when a machine was cloned. Everything in it is in the database: move the journal folder away and start again.',
  },
  BACKUP_FAILED: {
    status: 503,
    title: 'The backup could not be made consistent',
    retry: 'after a while',
    exit: 1,
    help: 'Journal records are missing between the copied rows and the copied journal. Try again at a quieter time; if it stays so, the journal has a gap: see /ready.',
  },
  BACKUP_INVALID: {
    status: 409,
    title: 'The folder is not a complete, unchanged backup',
    retry: 'no',
    exit: 2,
    help: 'Use another backup.',
  },
  FOLDER_NOT_EMPTY: {
    status: 409,
    title: 'The folder is not empty',
    retry: 'no',
    exit: 2,
    help: 'Name a folder that is empty or does not exist yet.',
  },
  RESTORE_INCOMPLETE: {
    status: 409,
    title: 'The data folder was restored only in part',
    retry: 'no',
    exit: 2,
    help: 'The restore did not end, or has not ended yet. Delete the folder and restore again.',
  },
  MIGRATION_REFUSED: {
    status: 409,
    title: 'Refused because of a migration to PostgreSQL',
    retry: 'no',
    exit: 2,
    help: 'The detail says what is in the way: docs/migration.md.',
  },
  ROLLED_BACK: {
    status: 409,
    title: 'The data folder is older than the position noted outside of it',
    retry: 'no',
    exit: 2,
    help: 'Bring the newer data folder back; or go on without what is missing: `ev-central restore --accept` puts that on record.',
  },
  ARCHIVE_FAILED: {
    status: 503,
    title: 'A segment or partition could not be archived',
    retry: 'no',
    exit: 1,
    help: 'It is still in the database. `detail` says what does not fit.',
  },
  ARCHIVE_INVALID: {
    status: 409,
    title: 'An archive is not complete, or was changed',
    retry: 'no',
    exit: 2,
    help: 'Use another copy of the file that is named.',
  },
  ARCHIVE_RUNNING: {
    status: 409,
    title: 'Somebody archives this trail now, or erases in it',
    retry: 'after a while',
    exit: 1,
    help: 'Wait until it has ended.',
  },
  HOLD_NOT_FOUND: {
    status: 404,
    title: 'There is no such legal hold',
    retry: 'no',
    exit: 2,
    help: '`ev-central archive hold list` lists them.',
  },
  WITNESS_STATE_DAMAGED: {
    status: 409,
    title: 'The witness cannot know what it has cosigned',
    retry: 'no',
    exit: 2,
    help: 'Never put an older copy of its folder back. Begin a new witness, which has another key, in another folder, and let the logs know.',
  },
  LEGAL_HOLD: {
    status: 409,
    title: 'A legal hold keeps what was to be erased',
    retry: 'no',
    exit: 2,
    help: 'Nothing was erased. Lift the hold first: `ev-central archive hold remove`.',
  },
  SUBJECT_IN_USE: {
    status: 409,
    title: 'The subject is still in use',
    retry: 'no',
    exit: 2,
    help: 'Nothing was erased. Delete the charge point, or revoke the admin, first.',
  },
  ERASURE_BLOCKED: {
    status: 409,
    title: 'An archive that did not leave this database holds the subject',
    retry: 'no',
    exit: 2,
    help: 'Nothing was erased. Delete the archive that is named, or move it out of reach, first.',
  },
  ERASURE_UNFINISHED: {
    status: 503,
    title: 'Remains of what was erased are still in files',
    retry: 'after a while',
    exit: 1,
    help: 'The rows are erased and on record; their remains could not all be overwritten now. Ask for the same erasure again.',
  },
  OVERLOADED: {
    status: 503,
    title: 'The service is overloaded',
    retry: 'after a while',
    exit: 1,
    help: 'Wait for the seconds in `Retry-After`.',
  },
  NOT_READY: {
    status: 503,
    title: 'The service is not ready',
    retry: 'after a while',
    exit: 1,
    help: 'The failing `checks` say why, in detail to whoever has a key.',
  },
  STORE_UNAVAILABLE: {
    status: 503,
    title: 'The event store cannot be read now',
    retry: 'after a while',
    exit: 1,
    help: 'Events are safe in the journal; see /ready.',
  },
  QUERY_TIMEOUT: {
    status: 503,
    title: 'The query took too long',
    retry: 'after a while',
    exit: 1,
    help: 'Narrow the time range or the filters.',
  },
  STATE_UNAVAILABLE: {
    status: 503,
    title: 'The security state cannot be written now',
    retry: 'after a while',
    exit: 1,
    help: 'Nothing was changed. The disk of security.db is full or failing, or another process holds the database; or PostgreSQL cannot be reached.',
  },
  NOT_WITH_POSTGRESQL: {
    status: 501,
    title: 'Not available with EVC_DATABASE_URL',
    retry: 'no',
    exit: 2,
    help: 'This version does it with the embedded SQLite only. Nothing was changed.',
  },
  STATE_UNCERTAIN: {
    status: 503,
    title: 'The connection was lost while the change was committed',
    retry: 'no',
    exit: 1,
    help: 'It happened as a whole, or not at all: look whether it did before you ask again.',
  },
  AUDIT_UNAVAILABLE: {
    status: 503,
    title: 'The event of this change cannot be recorded now',
    retry: 'after a while',
    exit: 1,
    help: 'Nothing was changed: EVC_STRICT_EVENTS refuses changes whose events would have to wait. See /ready.',
  },
  INTERNAL_ERROR: {
    status: 500,
    title: 'Something went wrong on our side',
    retry: 'after a while',
    exit: 1,
    help: 'Quote the request_id to the operator.',
  },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof ERRORS

/** A decision against the caller (or a bounded "busy"), with a code of the table. Carries no secret and no raw input. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: ErrorCode
  /** Seconds, for `Retry-After`. */
  readonly retryAfterSeconds: number | undefined
  /** For VALIDATION_FAILED: which field broke which rule; never the value. */
  readonly violations: readonly Violation[] | undefined

  constructor(
    code: ErrorCode,
    detail?: string,
    options: { cause?: unknown; retryAfterSeconds?: number; violations?: readonly Violation[] } = {},
  ) {
    super(detail ?? ERRORS[code].help, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.retryAfterSeconds = options.retryAfterSeconds
    this.violations = options.violations
  }
}

export interface Violation {
  readonly field: string
  readonly rule: string
}
