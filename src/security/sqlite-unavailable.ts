/**
 * Which failures of the security database pass by themselves: locks, a full, failing, read-only or missing disk. They
 * become STATE_UNAVAILABLE; everything else (a constraint, a corrupt file) is nobody's to wait for and stays as it is.
 */
import { Refusal } from '../errors.ts'

const SQLITE_BUSY = 5
/** BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL: https://www.sqlite.org/rescode.html */
const PASSING: ReadonlySet<number> = new Set([SQLITE_BUSY, 6, 8, 10, 13, 14, 15])
/** The same from the operating system, where we touch a file ourselves. */
const PASSING_CODES: ReadonlySet<string> = new Set(['EIO', 'ENOSPC', 'EDQUOT', 'EROFS', 'ENOENT', 'EMFILE', 'ENFILE'])

const RETRY_AFTER_SECONDS = 2

/** The primary code, which is the low byte of an extended one. */
function primaryCode(error: unknown): number {
  return ((error as { errcode?: number }).errcode ?? 0) % 256
}

export function isLocked(error: unknown): boolean {
  return primaryCode(error) === SQLITE_BUSY
}

/** The refusal that a failed write comes to, or undefined. */
export function unavailable(cause: unknown, otherwise?: string): Refusal | undefined {
  const { code } = cause as { code?: unknown }
  if (!PASSING.has(primaryCode(cause)) && !(typeof code === 'string' && PASSING_CODES.has(code))) return undefined
  const detail = isLocked(cause) ? 'The security state is locked by another process.' : otherwise
  return new Refusal('STATE_UNAVAILABLE', detail, { cause, retryAfterSeconds: RETRY_AFTER_SECONDS })
}
