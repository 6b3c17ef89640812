/**
 * What the security database holds of somebody who is to be erased. Works on the file, beside a running service: from a thread or
 * a command, never on the request path, as it waits for the write lock.
 */
import { existsSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'

const BUSY_TIMEOUT_MS = 30_000

/** A charge point or an admin that is there, or the location of one, as text. */
export interface NamesInUse {
  /** Whether there is a charge point, or an admin who is not revoked, of this name. */
  isInUse(name: string): boolean
  /** Texts that operators wrote about charge points that are there. */
  locations(): IterableIterator<string>
}

/** Undefined where there is no security database. */
export function readNamesInUse<T>(path: string, work: (names: NamesInUse) => T): T | undefined {
  if (!existsSync(path)) return undefined
  const db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS })
  try {
    const select = db.prepare(
      'SELECT 1 FROM charge_points WHERE cp_id = :name UNION SELECT 1 FROM admins WHERE name = :name AND revoked_at IS NULL',
    )
    return work({
      isInUse: name => select.get({ name }) !== undefined,
      *locations() {
        for (const row of db.prepare('SELECT location FROM charge_points WHERE location IS NOT NULL').iterate())
          yield String(row.location)
      },
    })
  } finally {
    db.close()
  }
}

/**
 * Takes out what is left of a revoked admin, sessions too, and an address out of those that are usual for a charge point; then writes the
 * file anew, so that no page shows what was deleted before. The database is small; a change of state waits meanwhile.
 * @param emptyLog empties the write-ahead log of a connection; false when it cannot now
 */
export async function scrubState(
  path: string,
  subject: { readonly who: string | undefined; readonly network: string | undefined },
  emptyLog: (db: DatabaseSync) => Promise<boolean>,
): Promise<boolean> {
  if (!existsSync(path)) return true
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  try {
    const { who, network } = subject
    if (who !== undefined) {
      db.prepare('DELETE FROM sessions WHERE admin = ?').run(who)
      db.prepare('DELETE FROM admins WHERE name = ? AND revoked_at IS NOT NULL').run(who)
    }
    if (network !== undefined) db.prepare('DELETE FROM usual_addresses WHERE network = ?').run(network)
    db.exec('VACUUM')
    return await emptyLog(db)
  } finally {
    db.close()
  }
}
