/** How much is measured: the full run, or one of about a minute (`--quick`). */
export interface Size {
  readonly events: number
  /** How many go into the journal before the indexer drains it. */
  readonly trancheEvents: number
  readonly queryRepeats: number
  readonly summaryRepeats: number
  readonly loginRounds: number
  readonly loginRoundSeconds: number
  readonly exportRounds: number
  /** What becomes rows with and without the log, and how often. */
  readonly logRecords: number
  readonly logRounds: number
  /** Of 20 events each, waited for until a checkpoint covers them. */
  readonly signedRounds: number
  readonly verifyEvents: number
  /** Rows in PostgreSQL when it is asked; and how many records each of four instances has to index together. */
  readonly postgresEvents: number
  readonly postgresSharedEvents: number
  /** Of the log in PostgreSQL that is verified. */
  readonly postgresVerifyEvents: number
  /** Of logins beside questions, for the memory they take. */
  readonly servingSeconds: number
}

export const FULL: Size = {
  events: 10_000_000,
  trancheEvents: 1_000_000,
  queryRepeats: 1_000,
  summaryRepeats: 20,
  loginRounds: 15,
  loginRoundSeconds: 1.5,
  exportRounds: 7,
  logRecords: 400_000,
  logRounds: 7,
  signedRounds: 10,
  verifyEvents: 1_000_000,
  postgresEvents: 5_000_000,
  postgresSharedEvents: 250_000,
  postgresVerifyEvents: 300_000,
  servingSeconds: 10,
}

export const QUICK: Size = {
  events: 200_000,
  trancheEvents: 50_000,
  queryRepeats: 20,
  summaryRepeats: 5,
  loginRounds: 2,
  loginRoundSeconds: 0.5,
  exportRounds: 1,
  logRecords: 50_000,
  logRounds: 1,
  signedRounds: 1,
  verifyEvents: 200_000,
  postgresEvents: 200_000,
  postgresSharedEvents: 25_000,
  postgresVerifyEvents: 100_000,
  servingSeconds: 2,
}
