/**
 * What PostgreSQL and the way to it may answer, as three fates that callers act on:
 *
 *   UNAVAILABLE  not now: gone, restarting, read-only, full, out of connections, too slow, or locked out by a setting of the
 *                server, which an operator puts right there. Try again later; nothing here has to be restarted for it.
 *   CONFLICT     somebody else was first (a unique key, a serialization failure, a deadlock): read again, then try again.
 *   FOREIGN      the database is not ours or of another version: no retry helps.
 *
 * Whatever else a statement may fail with is a defect of ours and stays the error it is.
 */
import { Refusal } from '../errors.ts'
import { loadDriver } from './driver.ts'

export type PostgresErrorCode = 'UNAVAILABLE' | 'CONFLICT' | 'FOREIGN'

export class PostgresError extends Error {
  override readonly name = 'PostgresError'
  readonly code: PostgresErrorCode
  /** SQLSTATE, where the server said one. */
  readonly sqlState: string | undefined
  constructor(
    code: PostgresErrorCode,
    message: string,
    options: ErrorOptions & { sqlState?: string | undefined } = {},
  ) {
    super(message, options)
    this.code = code
    this.sqlState = options.sqlState
  }
}

/**
 * SQLSTATE classes and codes (PostgreSQL documentation, appendix A). A wrong password, a missing right or a missing database
 * count as unavailable: they are put right on the server, and a failover may show them for a moment.
 */
const FATES: readonly (readonly [fate: PostgresErrorCode, states: RegExp])[] = [
  ['CONFLICT', /^(?:23505|40001|40P01)$/],
  ['FOREIGN', /^(?:42P01|42703|42883|42804|42P10|3F000|42P07|42723)$/], // what should be there is not, or something else is
  ['UNAVAILABLE', /^(?:08|25006|28|3D000|40003|42501|53|54000|55P03|55006|57|58|72|XX)/],
]

/** Every error of a statement or a connection, as the caller is to meet it: `.catch(rethrow)`. */
export function rethrow(error: unknown): never {
  throw asPostgresError(error)
}

/** Holds neither values nor the URL. */
function asPostgresError(error: unknown): unknown {
  if (error instanceof PostgresError) return error
  if (error instanceof loadDriver().DatabaseError) {
    const state = error.code ?? ''
    const fate = FATES.find(([, states]) => states.test(state))?.[0]
    if (fate === undefined) return error
    return new PostgresError(fate, `PostgreSQL: ${error.message} (${state})`, { cause: error, sqlState: state })
  }
  if (error instanceof Error && isOfTheWay(error)) {
    return new PostgresError('UNAVAILABLE', `PostgreSQL cannot be reached: ${reasonOf(error)}`, { cause: error })
  }
  return error
}

/** The driver has no codes of its own; what Node says of sockets and TLS has. */
const DRIVER_SAYS =
  /terminat|time-?out|timed out|not queryable|connection error|connection ended|after calling end|SSL|SASL|SCRAM|password/i

function isOfTheWay(error: Error): boolean {
  if (error instanceof AggregateError) return error.errors.every(each => each instanceof Error && isOfTheWay(each))
  return ('code' in error && typeof error.code === 'string') || DRIVER_SAYS.test(error.message)
}

function reasonOf(error: Error): string {
  const first = error instanceof AggregateError ? (error.errors[0] as Error) : error
  const code = 'code' in first && typeof first.code === 'string' ? `${first.code}: ` : ''
  return `${code}${first.message}`
}

/** For whoever asks a trail to do something: what the server refuses may pass. @throws {Refusal} STORE_UNAVAILABLE */
export async function available<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof PostgresError)) throw error
    throw new Refusal('STORE_UNAVAILABLE', error.message, { cause: error, retryAfterSeconds: 1 })
  }
}
