/**
 * How each event type is spelled: pure functions from arguments to an `AuditEvent`, as docs/quick-reference.md lists them.
 *
 * Separate from the service so that a state change can build its event inside its own transaction and hand it to the
 * journal afterwards (outbox), with the same words as everywhere else.
 */
import { createContext, currentContext, type RequestContext } from '../context/context.ts'
import { type Action, INCIDENT, type Severity, SYSTEM_SEVERITY, type SystemReason } from '../event/catalogue.ts'
import type { AuditEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import type { KeyDetails, Metadata } from './audit.ts'
import type { BruteForceReport } from './detector.ts'
import { metadataJson, safeError, safeText } from './redaction.ts'

const NO_CONTEXT = createContext({ requestId: 'none' })

interface Fields {
  readonly action: Action
  readonly severity: Severity
  readonly who: string
  /** Safe already, see `describe`. */
  readonly description: string
  readonly reasonCode?: string | null
  readonly statusCode?: number | null
  readonly metadata?: Metadata | undefined
}

let lastMs = Number.NaN
let lastText = ''

/** ISO-8601 with milliseconds; a burst of events in one millisecond formats it once. */
function timestamp(): string {
  const now = Date.now()
  if (now !== lastMs) {
    lastMs = now
    lastText = new Date(now).toISOString()
  }
  return lastText
}

function event(context: RequestContext | undefined, fields: Fields): AuditEvent {
  const from = context ?? currentContext() ?? NO_CONTEXT
  return {
    date_time: timestamp(),
    who: safeText(fields.who, LIMITS.whoCharactersMax),
    ip: from.ip,
    action: fields.action,
    description: fields.description,
    severity: fields.severity,
    reason_code: fields.reasonCode ?? null,
    request_id: from === NO_CONTEXT ? null : from.requestId,
    endpoint: from.endpoint === null ? null : safeText(from.endpoint, LIMITS.endpointCharactersMax),
    http_method: from.httpMethod,
    status_code: fields.statusCode ?? null,
    metadata_json: metadataJson(fields.metadata),
  }
}

export function authSuccess(cpId: string, context?: RequestContext, metadata?: Metadata): AuditEvent {
  const description = describe(`CP ${cpId} authenticated successfully`)
  return event(context, { action: 'AUTH_SUCCESS', severity: 'INFO', who: cpId, description, statusCode: 200, metadata })
}

export function authFail(
  cpId: string,
  context: RequestContext | undefined,
  reason: string,
  statusCode = 401,
  metadata?: Metadata,
): AuditEvent {
  return event(context, {
    action: 'AUTH_FAIL',
    severity: 'WARN',
    who: cpId === '' ? 'unknown' : cpId,
    description: describe(`Authentication failed: ${reason}`),
    reasonCode: reason,
    statusCode,
    metadata,
  })
}

export function statusChange(
  cpId: string,
  context: RequestContext | undefined,
  change: { oldStatus: string; newStatus: string; reason?: string | undefined; actor?: string | undefined },
): AuditEvent {
  return event(context, {
    action: 'STATUS_CHANGE',
    severity: change.newStatus === 'REVOKED' || change.newStatus === 'OUT_OF_SERVICE' ? 'WARN' : 'INFO',
    who: cpId,
    description: describe(
      `CP ${cpId} status changed from ${change.oldStatus} to ${change.newStatus}${because(change.reason)}`,
    ),
    statusCode: 200,
    metadata: {
      old_status: change.oldStatus,
      new_status: change.newStatus,
      reason: change.reason ?? null, // the shape is the same whether or not one was given
      actor: change.actor,
    },
  })
}

const KEY_EVENTS = {
  KEY_GENERATE: { severity: 'INFO', verb: 'generated' },
  KEY_RESET: { severity: 'WARN', verb: 'reset' },
  KEY_REVOKE: { severity: 'WARN', verb: 'revoked' },
} as const

export function keyEvent(
  action: keyof typeof KEY_EVENTS,
  cpId: string,
  context: RequestContext | undefined,
  details: KeyDetails = {},
): AuditEvent {
  const { severity, verb } = KEY_EVENTS[action]
  return event(context, {
    action,
    severity,
    who: cpId,
    description: describe(`Encryption key ${verb} for CP ${cpId}${because(details.reason)}`),
    statusCode: 200,
    metadata: {
      version: details.version,
      fingerprint: details.fingerprint,
      reason: details.reason ?? null,
      actor: details.actor,
    },
  })
}

export function validationError(
  who: string | undefined,
  context: RequestContext | undefined,
  violations: readonly { field: string; rule: string }[],
  statusCode = 422,
): AuditEvent {
  // Field and rule are made safe apart: together, `credentials:required` would look like a credential that is given away.
  const shown = violations
    .slice(0, LIMITS.validationRulesShownMax)
    .map(
      ({ field, rule }) =>
        `${safeText(field, LIMITS.fieldNameCharactersMax)}:${safeText(rule, LIMITS.fieldNameCharactersMax)}`,
    )
  const more = violations.length - shown.length
  return event(context, {
    action: 'VALIDATION_ERROR',
    severity: 'WARN',
    who: who ?? 'unknown',
    description: `Request validation failed: ${shown.join(', ')}${more > 0 ? ` (+${more} more)` : ''}`,
    statusCode,
    metadata: { error_count: violations.length },
  })
}

export function errorEvent(
  who: string | undefined,
  context: RequestContext | undefined,
  error: unknown,
  metadata?: Metadata,
): AuditEvent {
  const { name, message } = safeError(error)
  return event(context, {
    action: 'ERROR',
    severity: 'ERROR',
    who: who ?? 'system',
    description: describe(`System error: ${name} - ${message}`),
    reasonCode: name,
    statusCode: 500,
    metadata,
  })
}

export function incident(
  who: string,
  context: RequestContext | undefined,
  kind: string,
  options: { description?: string; statusCode?: number; metadata?: Metadata } = {},
): AuditEvent {
  const description = describe(options.description ?? `Security incident: ${kind}`)
  return event(context, { action: 'INCIDENT', severity: 'CRITICAL', who, reasonCode: kind, ...options, description })
}

/** What was counted, and of what; a report that others come to as well names its episode. */
export function bruteForce(
  cpId: string,
  context: RequestContext | undefined,
  report: BruteForceReport,
  windowSeconds: number,
  statusCode: number,
): AuditEvent {
  const { scope, failureCount, distinctCpIds, episode } = report
  const ip = context?.ip ?? '-'
  const subject = scope === 'ip' ? `from IP ${ip}` : `for CP ${cpId}`
  const description = `Brute force attack suspected: ${failureCount} failures ${subject} (window: ${windowSeconds} seconds)`
  const metadata = {
    scope,
    ip,
    cp_id: cpId,
    failure_count: failureCount,
    time_window_seconds: windowSeconds,
    distinct_cp_ids: distinctCpIds,
    ...(episode === 0 ? {} : { episode }),
  }
  return incident(cpId, context, INCIDENT.BRUTE_FORCE_SUSPECTED, { description, statusCode, metadata })
}

export function access(
  who: string,
  context: RequestContext | undefined,
  kind: string,
  options: { description?: string; statusCode?: number; metadata?: Metadata } = {},
): AuditEvent {
  const description = describe(options.description ?? `Audit trail accessed: ${kind}`)
  return event(context, { action: 'ACCESS', severity: 'INFO', who, reasonCode: kind, ...options, description })
}

export function system(
  reason: SystemReason,
  context?: RequestContext,
  options: { description?: string; metadata?: Metadata } = {},
): AuditEvent {
  return event(context, {
    action: 'SYSTEM',
    severity: SYSTEM_SEVERITY[reason],
    who: 'system',
    description: describe(options.description ?? `Service event: ${reason}`),
    reasonCode: reason,
    metadata: options.metadata,
  })
}

function describe(text: string): string {
  return safeText(text, LIMITS.descriptionCharactersMax)
}

function because(reason: string | undefined): string {
  return reason === undefined || reason === '' ? '' : ` - Reason: ${reason}`
}
