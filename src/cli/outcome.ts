/**
 * How a command ends: its exit code, and one clear line on stderr for whatever stopped it. Never a stack.
 *
 * The exit codes of refusals come from the error table (errors.ts).
 */
import { CommanderError } from 'commander'
import { safeError } from '../audit/redaction.ts'
import { ERRORS, Refusal } from '../errors.ts'
import { PostgresError } from '../postgres/postgres-error.ts'
import { SecurityStateError } from '../security/security-state.ts'
import { SettingsError } from '../settings/settings.ts'
import { sqliteCode } from '../store/connection.ts'
import { StoreError } from '../store/event-store.ts'
import type { VerdictExit } from '../verify/index.ts'

export const EXIT = { ok: 0, failed: 1, usage: 2, notAuthorized: 3 } as const
export type ExitCode = (typeof EXIT)[keyof typeof EXIT] | VerdictExit

export const EXIT_CODES_HELP = `Exit codes:
  0  done
  1  failed, an incident was found (monitor), or temporarily unavailable: try again
  2  the command line, a setting or the input is not valid; nothing was changed
  3  not authorized`

/** The command line asks for something that makes no sense; the message says the rule. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

export interface Failure {
  readonly exitCode: ExitCode
  /** Empty when the reason has been shown already. */
  readonly message: string
}

export function failureOf(error: unknown): Failure {
  if (error instanceof CommanderError) {
    return { exitCode: error.exitCode === 0 ? EXIT.ok : EXIT.usage, message: '' } // commander has printed it
  }
  if (error instanceof UsageError) return { exitCode: EXIT.usage, message: `error: ${error.message}` }
  if (error instanceof SettingsError) return { exitCode: EXIT.usage, message: error.message }
  if (error instanceof Refusal) return { exitCode: ERRORS[error.code].exit, message: refusalText(error) }
  if (error instanceof SecurityStateError) return { exitCode: EXIT.usage, message: `error: ${error.message}` }
  if (error instanceof StoreError) return storeFailure(error)
  if (error instanceof PostgresError) {
    return { exitCode: error.code === 'FOREIGN' ? EXIT.usage : EXIT.failed, message: `error: ${error.message}` }
  }
  return sqliteFailure(error) ?? systemFailure(error)
}

/** The detail, if the refusal has one of its own that is a sentence; else the table's words, and behind them the detail or what was met. */
function refusalText(refusal: Refusal): string {
  const { title, help } = ERRORS[refusal.code]
  const detail = refusal.message
  const violations = (refusal.violations ?? []).map(({ field, rule }) => `\n  - ${field}: ${rule}`).join('')
  const general = refusal.cause instanceof Error ? `${title}: ${safeError(refusal.cause).message}` : `${title}. ${help}`
  const words = detail === help ? general : /^[A-Z]/.test(detail) ? detail : `${title}: ${detail}`
  return `error: ${words} (${refusal.code})${violations}`
}

function storeFailure(error: StoreError): Failure {
  if (error.code === 'FOREIGN') {
    return { exitCode: EXIT.usage, message: `error: the audit database cannot be used: ${error.message}` }
  }
  return { exitCode: EXIT.failed, message: `error: the audit database is not available now: ${error.message}` }
}

/** What the operating system refuses: an address in use, a folder that cannot be written, certificates that do not fit. */
const SYSTEM_FAILURES: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the address and port are in use already; stop the other program or set EVC_PORT',
  EADDRNOTAVAIL: 'EVC_HOST is not an address of this machine',
  ENOTFOUND: 'EVC_HOST is not a name that resolves to an address',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'a part of the path is not a folder',
  ENOENT: 'no such file or folder',
  EISDIR: 'it is a folder, not a file',
  EEXIST: 'something of that name is there already',
  ELOOP: 'too many links, or one where none may be',
  ENOSPC: 'no space left on the disk',
}

/** By primary result code. */
const SQLITE_FAILURES: Readonly<Record<number, Failure>> = {
  5: { exitCode: EXIT.failed, message: 'a database is locked by another program: try again' },
  8: { exitCode: EXIT.usage, message: 'a database cannot be written: its file or its folder is read-only' },
  11: { exitCode: EXIT.failed, message: 'a database is damaged: `ev-central check` says more' },
  13: { exitCode: EXIT.failed, message: 'no space left on the disk' },
  14: {
    exitCode: EXIT.usage,
    message:
      'a database cannot be opened. On a disk that cannot be written only `verify` reads it: copy the folder to another one',
  },
  26: { exitCode: EXIT.failed, message: 'a file is not the database that it should be: `ev-central check` says more' },
}

function sqliteFailure(error: unknown): Failure | undefined {
  const failure = SQLITE_FAILURES[sqliteCode(error) ?? -1]
  return failure && { ...failure, message: `error: ${failure.message}` }
}

function systemFailure(error: unknown): Failure {
  const { code, path, port, syscall } = (error ?? {}) as Record<'code' | 'path' | 'port' | 'syscall', unknown>
  if (typeof code === 'string') {
    if (/^ERR_(OSSL|SSL|TLS|CRYPTO)_/.test(code)) {
      const message = 'EVC_TLS_CERT and EVC_TLS_KEY do not hold a certificate (PEM) and the private key that fits it'
      return { exitCode: EXIT.usage, message: `error: ${message}` }
    }
    const known = code === 'ENOENT' && syscall === 'mkdir' ? 'no folder can be made there' : SYSTEM_FAILURES[code]
    if (known !== undefined) {
      const where = typeof path === 'string' ? `${path}: ` : typeof port === 'number' ? `port ${port}: ` : ''
      const isUsage = code !== 'ENOSPC'
      return { exitCode: isUsage ? EXIT.usage : EXIT.failed, message: `error: ${where}${known} (${code})` }
    }
  }
  const { name, message } = safeError(error)
  return { exitCode: EXIT.failed, message: `error: something went wrong: ${name}: ${message}` }
}
