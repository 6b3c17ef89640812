/**
 * What differs between a service on a data folder of its own (embedded-backend.ts) and one of several that share a PostgreSQL
 * (shared-backend.ts). Chosen once, by EVC_DATABASE_URL; the rest of the composition root is the same for both and asks neither.
 *
 * Opening one refuses a data folder that is not for it, before that is locked. Its methods are called once each, in this order; what they
 * give back is disposed of in the reverse one, and the backend itself last.
 */
import type { Detector } from '../audit/detector.ts'
import type { KeyFolders } from '../checkpoint/key-files.ts'
import type { SecurityService } from '../security/create-security.ts'
import type { SecurityState } from '../security/security-state.ts'
import type { StoreLocation } from '../store/location.ts'
import type { Erasures } from './erasure.ts'
import type { LogParts } from './log.ts'
import type { Pipeline } from './pipeline.ts'
import type { Secrets } from './secrets.ts'

export interface Backend extends AsyncDisposable {
  readonly store: StoreLocation
  /** As `ev-central verify` takes it. */
  readonly trail: string
  /** Of the keys that sign the log, if they are files. */
  readonly keyFolders: KeyFolders | undefined
  /** Undefined: the pipeline's own, as all failures come to this process. */
  readonly detector: Detector | undefined
  /**
   * Disposed of after the pipeline.
   * @throws {SettingsError} a secret is missing. @throws {PostgresError} UNAVAILABLE, FOREIGN
   */
  openState(): Promise<OpenState>
  /** Notes from now on how far this process is. @throws {SettingsError} where that is to be noted cannot be written */
  follow(pipeline: Pipeline): Promise<void>
  /** What the security stage is to know of other instances. */
  sharing(pipeline: Pipeline): { readonly isSafe?: () => Promise<boolean>; readonly instance?: string }
  /** Counts the failures of other instances. */
  followFailures(parts: { pipeline: Pipeline; security: SecurityService }): AsyncDisposable | undefined
  openErasures(parts: { pipeline: Pipeline; settleState: () => Promise<boolean> }): Erasures & AsyncDisposable
  openLog(parts: { pipeline: Pipeline; keyEncryptionKey: Uint8Array }): LogParts
}

export interface OpenState extends AsyncDisposable {
  readonly state: SecurityState
  readonly secrets: Secrets
}
