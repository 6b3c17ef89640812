/**
 * Realistic events: charge points and addresses by Zipf's law, all twelve event types in the proportions of a busy
 * network, times rising. Reproducible: the same seed gives the same events.
 */
import type { Action, Severity } from '../src/event/catalogue.ts'
import type { AuditEvent } from '../src/event/event.ts'

/** mulberry32: small, fast and good enough to draw a load from. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** An index from 0 to n - 1, the first being the most frequent (Zipf with exponent 1, by inverting its integral). */
function zipf(random: () => number, n: number): number {
  return Math.min(n - 1, Math.floor((n + 1) ** random()) - 1)
}

const MIX: readonly [
  share: number,
  action: Action,
  severity: Severity,
  reasons: readonly (string | null)[],
  status: number | null,
][] = [
  [0.7, 'AUTH_SUCCESS', 'INFO', [null], 200],
  [
    0.15,
    'AUTH_FAIL',
    'WARN',
    ['INVALID_CREDENTIALS', 'UNKNOWN_CP', 'INVALID_TOKEN', 'EXPIRED_TOKEN', 'THROTTLED', 'REVOKED'],
    401,
  ],
  [0.05, 'ACCESS', 'INFO', ['READ', 'EXPORT'], 200],
  [0.03, 'STATUS_CHANGE', 'WARN', [null], 200],
  [0.03, 'VALIDATION_ERROR', 'WARN', [null], 422],
  [0.01, 'KEY_GENERATE', 'INFO', [null], 200],
  [0.01, 'KEY_RESET', 'WARN', [null], 200],
  [0.005, 'KEY_REVOKE', 'WARN', [null], 200],
  [0.005, 'ERROR', 'ERROR', ['TypeError', 'RangeError'], 500],
  [0.004, 'SYSTEM', 'INFO', ['STARTED', 'STOPPED'], null],
  [0.003, 'SECURITY_EVENT', 'WARN', ['FirmwareUpdated', 'TamperDetectionActivated'], null],
  [0.003, 'INCIDENT', 'CRITICAL', ['BRUTE_FORCE_SUSPECTED', 'UNAUTHORIZED_ADMIN_ACCESS', 'TAMPERING_DETECTED'], 401],
]

function drawKind(draw: number): (typeof MIX)[number] {
  let left = draw
  for (const kind of MIX) {
    left -= kind[0]
    if (left < 0) return kind
  }
  return MIX[0] as (typeof MIX)[number]
}

export interface GeneratorOptions {
  readonly seed: number
  readonly chargePoints: number
  readonly addresses: number
  /** Epoch milliseconds of the first event, and the time between two. */
  readonly start: number
  readonly stepMs: number
}

export function createEventGenerator(options: GeneratorOptions): () => AuditEvent {
  const random = createRandom(options.seed)
  let at = options.start
  let serial = 0
  return () => {
    at += options.stepMs
    serial++
    const [, action, severity, reasons, status_code] = drawKind(random())
    const cp = `CP-${String(zipf(random, options.chargePoints)).padStart(5, '0')}`
    const address = zipf(random, options.addresses)
    return {
      date_time: new Date(at).toISOString(),
      who: action === 'SYSTEM' ? 'system' : action === 'ACCESS' ? 'admin' : cp,
      ip: `10.${(address >> 16) & 255}.${(address >> 8) & 255}.${address & 255}`,
      action,
      description: `${action} of ${cp}`,
      severity,
      reason_code: reasons[Math.floor(random() * reasons.length)] ?? null,
      request_id: `0198c0de-0000-7000-8000-${serial.toString(16).padStart(12, '0')}`,
      endpoint: action === 'SYSTEM' ? null : '/auth/credentials',
      http_method: action === 'SYSTEM' ? null : 'POST',
      status_code,
      metadata_json: action === 'AUTH_SUCCESS' ? '{"security_status":"ACTIVE","method":"credentials"}' : null,
    }
  }
}
