/**
 * The security state in a SQLite file of its own. The command line writes the same file while a server
 * runs, so rows are read by key each time and never kept.
 */

import type { LastSeen, SecurityState, StateTransaction } from './security-state.ts'
import { openConnections } from './sqlite-connections.ts'
import { createSqliteNonces } from './sqlite-nonces.ts'
import { createReads, type SqliteReads } from './sqlite-reads.ts'

/** @throws {SecurityStateError} the file is not ours, or of a newer version */
export function createSqliteSecurityState(options: { path: string }): SecurityState {
  const connections = openConnections(options.path)
  const { reader, writer } = connections
  const reads = createReads(reader)
  const writerReads = createReads(writer)
  const transaction = createTransaction(writer, writerReads)
  const saveLogin = createSaveLogin(writer)
  const deleteOutbox = writer.prepare('DELETE FROM outbox WHERE id <= ?')

  return {
    refresh: async () => {}, // nothing is kept
    chargePoint: async cpId => reads.chargePoint(cpId),
    chargePoints: async page => reads.chargePoints(page),
    status: async cpId => reads.status(cpId),
    statuses: async page => reads.statuses(page),
    statusCounts: async () => reads.statusCounts(),
    hasChosenCredentials: async () => reads.hasChosenCredentials(),
    currentKey: async cpId => reads.currentKey(cpId),
    adminByKeyHash: async keyHash => reads.adminByKeyHash(keyHash),
    admins: async () => reads.admins(),
    isUsualAddress: async (cpId, network) => reads.isUsualAddress(cpId, network),
    session: async idHash => reads.session(idHash),

    change: work => connections.transaction('FULL', () => work(transaction)),
    outbox: async (after, limit) => reads.outbox(after, limit),
    async deleteOutbox(through) {
      await connections.transaction('NORMAL', () => deleteOutbox.run(through))
    },
    ...createSqliteNonces(connections),
    async saveLastSeen(logins, networksMax) {
      await connections.transaction('NORMAL', () => {
        for (const login of logins) saveLogin(login, networksMax)
      })
    },
    lastWriteError: connections.lastWriteError,
    close: () => connections.close(),
  }
}

type Writer = ReturnType<typeof openConnections>['writer']

function createTransaction(writer: Writer, reads: SqliteReads): StateTransaction {
  const putChargePoint = writer.prepare(`
    INSERT INTO charge_points (cp_id, location, security_status, credential_kind, credential_hash, token_version,
      created_at, updated_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (cp_id) DO UPDATE SET location = excluded.location, security_status = excluded.security_status,
      credential_kind = excluded.credential_kind, credential_hash = excluded.credential_hash,
      token_version = excluded.token_version, created_at = excluded.created_at, updated_at = excluded.updated_at`)
  const removeChargePoint = writer.prepare('DELETE FROM charge_points WHERE cp_id = ?')
  const addKey = writer.prepare(
    'INSERT INTO keys (key_id, cp_id, version, wrapped, fingerprint, created_at) VALUES (?, ?, ?, ?, ?, ?)',
  )
  const dropKey = writer.prepare('UPDATE keys SET wrapped = NULL, revoked_at = ? WHERE key_id = ?')
  const putAdmin = writer.prepare(`
    INSERT INTO admins (name, role, key_hash, created_at, revoked_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET role = excluded.role, key_hash = excluded.key_hash,
      created_at = excluded.created_at, revoked_at = excluded.revoked_at`)
  const putSession = writer.prepare(`
    INSERT INTO sessions (id_hash, admin, key_hash, created_at, expires_at, ended_at) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (id_hash) DO UPDATE SET expires_at = excluded.expires_at, ended_at = excluded.ended_at`)
  const forgetSessions = writer.prepare('DELETE FROM sessions WHERE expires_at < ?')
  const putMeta = writer.prepare(
    'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
  )
  const addToOutbox = writer.prepare('INSERT INTO outbox (uuid, event) VALUES (?, ?)')

  return {
    chargePoint: async cpId => reads.chargePoint(cpId),
    async putChargePoint(cp) {
      putChargePoint.run(
        cp.cp_id,
        cp.location,
        cp.security_status,
        cp.credential_kind,
        cp.credential_hash,
        cp.token_version,
        cp.created_at,
        cp.updated_at,
      )
    },
    async removeChargePoint(cpId) {
      removeChargePoint.run(cpId) // the rest goes by ON DELETE CASCADE
    },
    currentKey: async cpId => reads.currentKey(cpId),
    lastKeyVersion: async cpId => reads.lastKeyVersion(cpId),
    async addKey(key) {
      addKey.run(key.key_id, key.cp_id, key.version, key.wrapped, key.fingerprint, key.created_at)
    },
    async dropKey(keyId, at) {
      dropKey.run(at, keyId)
    },
    admin: async name => reads.admin(name),
    adminByKeyHash: async keyHash => reads.adminByKeyHash(keyHash),
    admins: async () => reads.admins(),
    async putAdmin(admin) {
      putAdmin.run(admin.name, admin.role, admin.key_hash, admin.created_at, admin.revoked_at)
    },
    session: async idHash => reads.session(idHash),
    sessionsOf: async admin => reads.sessionsOf(admin),
    async putSession(session) {
      const { id_hash, admin, key_hash, created_at, expires_at, ended_at } = session
      putSession.run(id_hash, admin, key_hash, created_at, expires_at, ended_at)
    },
    async forgetSessions(before) {
      forgetSessions.run(before)
    },
    meta: async name => reads.meta(name),
    async putMeta(name, value) {
      putMeta.run(name, value)
    },
    async addToOutbox(uuid, event) {
      addToOutbox.run(uuid, JSON.stringify(event))
    },
  }
}

function createSaveLogin(writer: Writer): (login: LastSeen, networksMax: number) => void {
  // WHERE EXISTS: the charge point may have been deleted since.
  const seen = writer.prepare(`
    INSERT INTO last_seen (cp_id, last_success)
    SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM charge_points WHERE cp_id = ?1)
    ON CONFLICT (cp_id) DO UPDATE SET last_success = excluded.last_success`)
  const usual = writer.prepare(`
    INSERT INTO usual_addresses (cp_id, network, seen_at)
    SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM charge_points WHERE cp_id = ?1)
    ON CONFLICT (cp_id, network) DO UPDATE SET seen_at = excluded.seen_at`)
  const forgetOldest = writer.prepare(`
    DELETE FROM usual_addresses WHERE cp_id = ?1 AND network NOT IN
      (SELECT network FROM usual_addresses WHERE cp_id = ?1 ORDER BY seen_at DESC, network LIMIT ?2)`)

  return (login, networksMax) => {
    seen.run(login.cp_id, login.last_success)
    for (const network of login.networks) usual.run(login.cp_id, network, login.last_success)
    forgetOldest.run(login.cp_id, networksMax)
  }
}
