/**
 * The security state in PostgreSQL, shared by any number of instances. What a change promises is in postgres-change.ts; reads ask
 * the database each time (cached-state.ts is what spares the logins that).
 *
 * The outbox is a queue for each instance: a change puts its events into that of the instance that made it. Whoever looks for
 * rows also *adopts* those that wait for longer than `orphanMs`, of a dead instance, a stalled one or the command line: they get
 * new ids at the end of the queue of the one who adopts them, so ids still only grow in each queue. The instance that was only
 * slow may hand the same event over too; it is recorded once, by its uuid.
 */
import type { AuditEvent } from '../event/event.ts'
import { migrate } from '../postgres/migrations.ts'
import type { Postgres, Session } from '../postgres/postgres.ts'
import { createPostgresChanges, takeLock, unavailable } from './postgres-change.ts'
import { createPostgresNonces } from './postgres-nonces.ts'
import { createReads } from './postgres-reads.ts'
import { SECURITY_SCHEMA } from './postgres-schema.ts'
import type { LastSeen, SecurityState, StateTransaction } from './security-state.ts'

export interface PostgresStateOptions {
  /** Closed with the state. */
  readonly postgres: Postgres
  /** Whose outbox; '' adopts nothing, and what it leaves is adopted at once. */
  readonly instance: string
  readonly orphanMs?: number
}

const ORPHAN_MS = 10_000
const ORPHANS_AT_ONCE = 100
/** Whoever is further behind reads everything anew. */
const FORGET_OLD_CHANGES =
  'DELETE FROM security_changes WHERE number < (SELECT max(number) - 100000 FROM security_changes)'

/** @throws {PostgresError} UNAVAILABLE, FOREIGN */
export async function openPostgresSecurityState(options: PostgresStateOptions): Promise<SecurityState> {
  const { postgres, instance, orphanMs = ORPHAN_MS } = options
  await migrate(postgres, SECURITY_SCHEMA)
  const changes = createPostgresChanges(postgres)
  const nonces = createPostgresNonces(changes)
  const read = <T>(work: (session: Session) => Promise<T>): Promise<T> =>
    postgres.use(work).catch(error => {
      throw unavailable(error) ?? error
    })
  const { outbox, meta, admin, lastKeyVersion, sessionsOf, ...reads } = createReads((text, values, name) =>
    read(session => session.query(text, values, name)),
  )

  async function adoptOrphans(): Promise<boolean> {
    const adopted = await changes.write(async session => {
      await takeLock(session)
      return session.query(
        `WITH orphans AS (DELETE FROM outbox WHERE id IN
           (SELECT id FROM outbox WHERE ${ORPHANED} ORDER BY id LIMIT ${ORPHANS_AT_ONCE}) RETURNING id, uuid, event)
         INSERT INTO outbox (uuid, event, instance) SELECT uuid, event, $1 FROM orphans ORDER BY id`,
        [instance, orphanMs / 1000],
      )
    })
    return (adopted.rowCount ?? 0) > 0
  }

  async function areThereOrphans(): Promise<boolean> {
    if (instance === '') return false
    const found = await read(session =>
      session.query(`SELECT 1 FROM outbox WHERE ${ORPHANED} LIMIT 1`, [instance, orphanMs / 1000], 'security orphans'),
    )
    return found.rows.length > 0
  }

  return {
    ...reads,
    change: work => changes.change(session => work(createTransaction(session, instance))),
    refresh: async () => {}, // nothing is kept

    async outbox(after, limit) {
      const rows = await outbox(instance, after, limit)
      if (rows.length > 0 || !(await areThereOrphans()) || !(await adoptOrphans())) return rows
      return outbox(instance, after, limit)
    },
    async deleteOutbox(through) {
      await changes.write(session =>
        session.query('DELETE FROM outbox WHERE instance = $1 AND id <= $2', [instance, through]),
      )
    },
    useNonce: nonces.useNonce,
    async sweepNonces() {
      await changes.write(session => session.query(FORGET_OLD_CHANGES))
      return nonces.sweepNonces()
    },
    async saveLastSeen(logins, networksMax) {
      await changes.write(session => saveLogins(session, logins, networksMax))
    },
    lastWriteError: changes.lastWriteError,
    close: () => postgres.close(),
  }
}

/** $1 is who looks, $2 the seconds after which rows of others are orphans. */
const ORPHANED = "instance <> $1 AND (instance = '' OR queued_at < clock_timestamp() - make_interval(secs => $2))"

function createTransaction(session: Session, instance: string): StateTransaction {
  const reads = createReads(session.query)
  const run = async (text: string, values: readonly unknown[]): Promise<void> => {
    await session.query(text, values)
  }
  return {
    chargePoint: reads.chargePoint,
    putChargePoint: cp =>
      run(
        `INSERT INTO charge_points (cp_id, location, security_status, credential_kind, credential_hash, token_version,
           created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (cp_id) DO UPDATE SET location = excluded.location, security_status = excluded.security_status,
           credential_kind = excluded.credential_kind, credential_hash = excluded.credential_hash,
           token_version = excluded.token_version, created_at = excluded.created_at, updated_at = excluded.updated_at`,
        [
          cp.cp_id,
          cp.location,
          cp.security_status,
          cp.credential_kind,
          cp.credential_hash,
          cp.token_version,
          cp.created_at,
          cp.updated_at,
        ],
      ),
    removeChargePoint: cpId => run('DELETE FROM charge_points WHERE cp_id = $1', [cpId]), // the rest by ON DELETE CASCADE
    currentKey: reads.currentKey,
    lastKeyVersion: reads.lastKeyVersion,
    addKey: key =>
      run(
        `INSERT INTO charge_point_keys (key_id, cp_id, version, wrapped, fingerprint, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)`,
        [key.key_id, key.cp_id, key.version, Buffer.from(key.wrapped), key.fingerprint, key.created_at],
      ),
    dropKey: (keyId, at) =>
      run('UPDATE charge_point_keys SET wrapped = NULL, revoked_at = $1 WHERE key_id = $2', [at, keyId]),
    admin: reads.admin,
    adminByKeyHash: reads.adminByKeyHash,
    admins: () => reads.admins(),
    putAdmin: admin =>
      run(
        `INSERT INTO admins (name, role, key_hash, created_at, revoked_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE SET role = excluded.role, key_hash = excluded.key_hash,
           created_at = excluded.created_at, revoked_at = excluded.revoked_at`,
        [admin.name, admin.role, admin.key_hash, admin.created_at, admin.revoked_at],
      ),
    session: reads.session,
    sessionsOf: admin => reads.sessionsOf(admin),
    putSession: session =>
      run(
        `INSERT INTO sessions (id_hash, admin, key_hash, created_at, expires_at, ended_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id_hash) DO UPDATE SET expires_at = excluded.expires_at, ended_at = excluded.ended_at`,
        [session.id_hash, session.admin, session.key_hash, session.created_at, session.expires_at, session.ended_at],
      ),
    forgetSessions: before => run('DELETE FROM sessions WHERE expires_at < $1', [before]),
    meta: reads.meta,
    putMeta: (name, value) =>
      run(
        'INSERT INTO security_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
        [name, value],
      ),
    addToOutbox: (uuid: string, event: AuditEvent) =>
      run('INSERT INTO outbox (uuid, event, instance) VALUES ($1, $2, $3)', [uuid, JSON.stringify(event), instance]),
  }
}

/** Under the lock, so that no charge point goes away in between and the feed keeps its order. */
async function saveLogins(session: Session, logins: readonly LastSeen[], networksMax: number): Promise<void> {
  await takeLock(session)
  const ids = logins.map(({ cp_id }) => cp_id)
  await session.query(
    `INSERT INTO last_seen (cp_id, last_success)
     SELECT login.cp_id, login.last_success FROM unnest($1::text[], $2::text[]) AS login (cp_id, last_success)
     JOIN charge_points USING (cp_id)
     ON CONFLICT (cp_id) DO UPDATE SET last_success = greatest(last_seen.last_success, excluded.last_success)`,
    [ids, logins.map(({ last_success }) => last_success)],
    'security last seen',
  )
  const visits = logins.flatMap(({ cp_id, last_success, networks }) =>
    networks.map(network => ({ cp_id, network, seen_at: last_success })),
  )
  await session.query(
    `INSERT INTO usual_addresses (cp_id, network, seen_at)
     SELECT visit.cp_id, visit.network, visit.seen_at
     FROM unnest($1::text[], $2::text[], $3::text[]) AS visit (cp_id, network, seen_at) JOIN charge_points USING (cp_id)
     ON CONFLICT (cp_id, network) DO UPDATE SET seen_at = excluded.seen_at`,
    [visits.map(({ cp_id }) => cp_id), visits.map(({ network }) => network), visits.map(({ seen_at }) => seen_at)],
    'security usual addresses',
  )
  await session.query(
    `DELETE FROM usual_addresses AS old USING
       (SELECT cp_id, network, row_number() OVER (PARTITION BY cp_id ORDER BY seen_at DESC, network) AS place
        FROM usual_addresses WHERE cp_id = ANY($1)) AS ranked
     WHERE old.cp_id = ranked.cp_id AND old.network = ranked.network AND ranked.place > $2`,
    [ids, networksMax],
    'security forget addresses',
  )
}
