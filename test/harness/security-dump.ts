/** Everything that the security database says, to see that nothing of it changed. */
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** What changes by itself: when charge points were seen, and our own attempts to write. */
const STATE = {
  charge_points: 'SELECT * FROM charge_points ORDER BY cp_id',
  keys: 'SELECT key_id, cp_id, version, fingerprint, revoked_at FROM keys ORDER BY number',
  admins: 'SELECT * FROM admins ORDER BY name',
  nonces: 'SELECT key_number, hex(nonce) FROM message_nonces ORDER BY 1, 2',
}

export function securityDump(dataDir: string): string {
  return Object.entries(STATE)
    .map(([name, sql]) => `${name}: ${JSON.stringify(securityRows(dataDir, sql))}`)
    .join('\n')
}

export function securityRows(dataDir: string, sql: string): Record<string, unknown>[] {
  const database = new DatabaseSync(join(dataDir, 'security', 'security.db'), { readOnly: true, timeout: 5_000 })
  try {
    return database
      .prepare(sql)
      .all()
      .map(row => ({ ...row }))
  } finally {
    database.close()
  }
}
