import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import type { Registry } from 'prom-client'
import type { Audit } from '../audit/audit.ts'
import type { AddressResolver } from '../context/client-address.ts'
import type { PackSource } from '../pack/write-pack.ts'
import type { EventQueries } from '../query/event-queries.ts'
import type { Security } from '../security/security.ts'
import type { SchemaTypes } from './schema.ts'

/** What the HTTP door is built from. */
export interface HttpDeps {
  readonly security: Security
  readonly audit: Audit
  readonly queries: EventQueries
  readonly resolveAddress: AddressResolver
  readonly logger: FastifyBaseLogger
  readonly health: {
    ready(): Promise<ReadinessReport>
    /** The door adds its own metrics to it and serves all of it at /metrics. */
    readonly registry: Registry
  }
  readonly streams: EventSignal
  /** The newest signed checkpoint, undefined before the first. */
  readonly checkpoint: () => string | undefined
  /** For evidence packs: also of events that have left as archives. */
  readonly packSource: () => Promise<PackSource['queries'] & Disposable>
  readonly signManifest: PackSource['signManifest']
  readonly erasures: ErasureDoor
  readonly evidence: () => EvidenceStatus
  readonly verification: VerificationDoor
  /** The key chain of the log as it is stored, undefined before there is one. */
  readonly keyChain: () => string | undefined
  readonly settings: { readonly bruteForceWindowSeconds: number; readonly isLogPublic: boolean }
  /** PEM. Given: HTTPS only. */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer }
  readonly version: string
}

export interface ReadinessReport {
  readonly ready: boolean
  readonly checks: readonly {
    readonly name: string
    readonly ok: boolean
    /** For admins: errors name hosts, roles and paths. */
    readonly detail: string
    /** For everybody. */
    readonly openly: string
  }[]
}

/** How the log is doing. */
export interface EvidenceStatus {
  readonly phase: string
  /** Events under the newest checkpoint. */
  readonly size: number
  readonly signed_at: string | null
  /** How long the oldest event has waited that no checkpoint covers. */
  readonly unsigned_seconds: number
  readonly last_error: string | null
  /** Events under the newest checkpoint that enough witnesses cosigned. */
  readonly cosigned_size: number
  readonly witnesses: readonly {
    readonly name: string
    readonly url: string
    readonly cosigned_size: number
    readonly cosigned_at: string | null
    readonly failures: number
    readonly last_fault: string | null
  }[]
  /** Reading the trail again in the background: events of this round, rounds that went well, and for how long it has not gone on. */
  readonly self_check: { readonly through: number; readonly rounds: number; readonly stalled_seconds: number } | null
}

/** Has the whole trail judged by the verifier, once at a time. */
export interface VerificationDoor {
  /** Goes on by itself; one that runs is left to. */
  start(actor: string): VerificationStatus
  status(): VerificationStatus
}

export interface VerificationStatus {
  readonly phase: 'never' | 'running' | 'done' | 'failed'
  readonly started_at: string | null
  readonly started_by: string | null
  readonly ended_at: string | null
  readonly done: number
  readonly total: number
  readonly verdict: string | null
  /** What the verdict says, or why there is none. */
  readonly sentence: string | null
}

/** Overwrites whatever the trail holds of somebody, and puts that on record. */
export interface ErasureDoor {
  erase(request: {
    readonly subject: { readonly kind: 'who' | 'ip'; readonly name: string }
    readonly reason: string
    readonly actor: string
  }): Promise<{
    readonly erased: number
    readonly eventId: number | null
    /** Numbers of archives that are not at hand and were not looked into. */
    readonly archivesMissing: readonly number[]
    /** Journals of instances that are away. */
    readonly journalsBehind: readonly string[]
  }>
}

/** How the door learns that rows were added. */
export interface EventSignal {
  /** Calls back after rows were added; returns how to stop that. */
  onIndexed(listener: () => void): () => void
  lastEventId(): number
}

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, SchemaTypes>
