/** What the service answers, as far as the pages look at it. */
import type { Severity } from '../../src/event/catalogue.ts'

export type { Severity } from '../../src/event/catalogue.ts'
export type { StoredEvent } from '../../src/event/event.ts'

export type Role = 'admin' | 'operator' | 'auditor'
export type CpStatus = 'ACTIVE' | 'OUT_OF_SERVICE' | 'REVOKED'
export type IncidentState = 'open' | 'acknowledged' | 'resolved'

export interface Session {
  readonly name: string
  readonly role: Role
  readonly expires_at: string
}

export interface Evidence {
  readonly phase: string
  readonly size: number
  readonly signed_at: string | null
  readonly unsigned_seconds: number
  readonly last_error: string | null
  readonly cosigned_size: number
  readonly witnesses: readonly {
    readonly name: string
    readonly url: string
    readonly cosigned_size: number
    readonly cosigned_at: string | null
    readonly failures: number
    readonly last_fault: string | null
  }[]
  readonly self_check: { readonly through: number; readonly rounds: number } | null
}

export interface Failing {
  readonly count: number
  readonly failures: number
}

export interface Overview {
  readonly at: string
  readonly version: string
  readonly last_event_id: number
  readonly ready: boolean
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[]
  readonly evidence: Evidence
  readonly events: {
    readonly start_time: string
    readonly end_time: string
    readonly total: number
    readonly by_severity: Readonly<Partial<Record<Severity, number>>>
    readonly per_minute: Readonly<Record<Severity, readonly number[]>>
  }
  readonly failed_logins: Readonly<Record<string, number>>
  readonly attacked_charge_points: readonly (Failing & { readonly cp_id: string })[]
  readonly attacking_addresses: readonly (Failing & { readonly ip: string })[]
  readonly incidents: {
    readonly by_state: Readonly<Record<IncidentState, number>>
    readonly newest: readonly IncidentLine[]
  }
  readonly charge_points: Readonly<Record<CpStatus, number>>
}

export interface IncidentLine {
  readonly episode_id: number
  readonly reason_code: string
  readonly who: string
  readonly ip: string
  readonly scope: 'ip' | 'cp_id' | null
  readonly last_seen: string
  readonly failure_count: number | null
  readonly state: IncidentState
}

export interface Episode extends IncidentLine {
  readonly first_seen: string
  readonly event_ids: readonly number[]
  readonly description: string
  readonly handling: readonly {
    readonly event_id: number
    readonly at: string
    readonly who: string
    readonly step: 'ACKNOWLEDGED' | 'NOTED' | 'RESOLVED'
    readonly note: string | null
  }[]
}

export interface ChargePoint {
  readonly cp_id: string
  readonly location: string | null
  readonly security_status: CpStatus
  readonly has_key: boolean
  readonly key_version: number | null
  readonly key_age_seconds: number | null
  readonly last_success: string | null
  readonly failures_in_window: number
  readonly updated_at: string
}

export interface Verification {
  readonly phase: 'never' | 'running' | 'done' | 'failed'
  readonly started_at: string | null
  readonly started_by: string | null
  readonly ended_at: string | null
  readonly done: number
  readonly total: number
  readonly verdict: string | null
  readonly sentence: string | null
}
