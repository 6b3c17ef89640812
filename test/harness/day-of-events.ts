/**
 * A day of a charging network in the table of the reference implementation, for pages that show a day: everyday traffic with
 * its rhythm, mistakes, maintenance, and three attacks. The same every time, but for the hour it ends at.
 */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { foreignRedaction } from '../../src/audit/redaction.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { importReferenceDatabase } from '../../src/store/import.ts'
import { documentedSchema } from '../../src/store/segments.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { createRandom } from '../unit/query/event-fixture.ts'

const DAY_MS = 86_400_000
const CHARGE_POINTS = 240
const SITES = ['DEPOT-N', 'DEPOT-S', 'MALL', 'HARBOUR', 'AIRPORT', 'A7-WEST'] as const

type Row = readonly [
  string,
  string,
  string,
  string,
  string,
  string,
  string | null,
  string,
  string,
  number | null,
  string | null,
]

export function cpIdOf(n: number): string {
  return `${SITES[n % SITES.length]}-${String(1 + Math.floor(n / SITES.length)).padStart(3, '0')}`
}

/** Into the data folder of a service that is not running, or has not begun. */
export async function importDay(dataDir: string, endMs: number, events = 45_000): Promise<void> {
  const file = join(dataDir, 'reference.db')
  const rows = dayOfEvents(endMs, events)
  const database = new DatabaseSync(file)
  database.exec(documentedSchema())
  const insert = database.prepare(
    `INSERT INTO audit_events (date_time, who, ip, action, description, severity, reason_code, endpoint, http_method,
       status_code, metadata_json, request_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  database.exec('BEGIN')
  rows.forEach((row, n) => {
    insert.run(...row, `019b1f6e-7a55-7cc0-8d0f-${n.toString(16).padStart(12, '0')}`, row[0])
  })
  database.exec('COMMIT')
  database.close()
  const store = createSqliteEventStore({ path: dataFolder(dataDir).auditDatabase })
  await importReferenceDatabase({ file, store, redaction: foreignRedaction })
  await store.close()
}

function dayOfEvents(endMs: number, count: number): Row[] {
  const random = createRandom(7)
  const rows: Row[] = []
  const add = (ms: number, ...rest: readonly (string | number | null)[]) =>
    rows.push([new Date(ms).toISOString(), ...rest] as unknown as Row)
  const login = '/auth/credentials'
  const fail = (ms: number, who: string, ip: string, reason: string) =>
    add(ms, who, ip, 'AUTH_FAIL', `Authentication failed: ${reason}`, 'WARN', reason, login, 'POST', 401, null)

  for (let n = 0; n < count; n++) {
    const share = random()
    // More by day than by night.
    const ms = endMs - DAY_MS + ((share + 0.09 * Math.sin(share * 2 * Math.PI)) / 1) * (DAY_MS - 60_000)
    const cp = Math.floor(random() ** 1.5 * CHARGE_POINTS)
    const who = cpIdOf(cp)
    const ip = `198.51.100.${1 + (cp % 200)}`
    const chance = random()
    if (chance < 0.9)
      add(ms, who, ip, 'AUTH_SUCCESS', `CP ${who} authenticated successfully`, 'INFO', null, login, 'POST', 200, null)
    else if (chance < 0.93) fail(ms, who, ip, 'EXPIRED_TOKEN')
    else if (chance < 0.945) fail(ms, who, ip, 'INVALID_CREDENTIALS')
    else if (chance < 0.955) fail(ms, who, ip, 'OUT_OF_SERVICE')
    else if (chance < 0.97) {
      const description = `Encryption key reset for CP ${who} - Reason: quarterly rotation`
      const metadata = JSON.stringify({ version: 2, reason: 'quarterly rotation', actor: 'olga' })
      add(ms, who, ip, 'KEY_RESET', description, 'WARN', null, '/keys/reset', 'POST', 200, metadata)
    } else if (chance < 0.985) {
      add(
        ms,
        who,
        ip,
        'VALIDATION_ERROR',
        'Request validation failed: cp_id:pattern',
        'WARN',
        null,
        login,
        'POST',
        422,
        null,
      )
    } else if (chance < 0.9985) {
      const description = `CP ${who} status changed from ACTIVE to OUT_OF_SERVICE - Reason: maintenance`
      add(ms, who, ip, 'STATUS_CHANGE', description, 'WARN', null, '/status/out-of-service', 'POST', 200, null)
    } else
      add(
        ms,
        'system',
        ip,
        'ERROR',
        'System error: TimeoutError - upstream did not answer',
        'ERROR',
        'TimeoutError',
        '/messages',
        'POST',
        500,
        null,
      )
  }
  attack(endMs - 15.2 * 3_600_000, '203.0.113.66', 40, n => cpIdOf(n % 9))
  attack(endMs - 6.4 * 3_600_000, '192.0.2.240', 80, () => 'HARBOUR-004')
  attack(endMs - 0.12 * 3_600_000, '203.0.113.199', 20, n => cpIdOf(30 + (n % 4)))
  return rows.sort((a, b) => (a[0] < b[0] ? -1 : 1))

  function attack(startMs: number, ip: string, failures: number, target: (n: number) => string): void {
    for (let n = 1; n <= failures; n++) {
      const ms = startMs + n * 2_300
      const who = target(n)
      fail(ms, who, ip, n % 3 === 0 ? 'UNKNOWN_CP' : 'INVALID_CREDENTIALS')
      if (n % 5 !== 0 || !Number.isInteger(Math.log2(n / 5))) continue
      const metadata = {
        scope: 'ip',
        ip,
        cp_id: who,
        failure_count: n,
        time_window_seconds: 600,
        distinct_cp_ids: Math.min(n, 9),
      }
      const description = `Brute force attack suspected: ${n} failures from IP ${ip} within 600 seconds of each other`
      add(
        ms + 1,
        who,
        ip,
        'INCIDENT',
        description,
        'CRITICAL',
        'BRUTE_FORCE_SUSPECTED',
        login,
        'POST',
        401,
        JSON.stringify(metadata),
      )
    }
  }
}
