/**
 * The tables of the security state in PostgreSQL, as migrations (src/postgres/migrations.ts): those of SQLite, and the *feed*.
 *
 * The feed, `security_changes`, names what changed, by whom ever: the tables write it themselves, so a change made by hand in
 * psql is told to all instances too. Whoever changes anything holds one advisory lock until the commit. So the numbers of the
 * feed, and the ids of the outbox, grow in the order of the commits, and whoever has read up to one has missed none before it.
 * TRUNCATE, which tells of no rows, is refused.
 */
import { createOwnersFunction, type Schema } from '../postgres/migrations.ts'
import type { Session } from '../postgres/postgres.ts'

/** `EVCS` in ASCII: whoever changes the security state of this database holds this advisory lock until the commit. */
export const CHANGE_LOCK = 0x45564353

const TABLES = `
  -- "C": ordered by code point, as everywhere else.
  CREATE TABLE charge_points (
    cp_id           text COLLATE "C" PRIMARY KEY,
    location        text,
    security_status text NOT NULL CHECK (security_status IN ('ACTIVE', 'OUT_OF_SERVICE', 'REVOKED')),
    credential_kind text NOT NULL CHECK (credential_kind IN ('generated', 'chosen')),
    credential_hash text NOT NULL,
    token_version   bigint NOT NULL,
    created_at      text NOT NULL,
    updated_at      text NOT NULL
  );
  CREATE INDEX charge_points_by_status ON charge_points (security_status, cp_id);
  CREATE INDEX charge_points_chosen ON charge_points (cp_id) WHERE credential_kind = 'chosen';

  CREATE TABLE charge_point_keys (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key_id      text NOT NULL UNIQUE,
    cp_id       text COLLATE "C" NOT NULL REFERENCES charge_points (cp_id) ON DELETE CASCADE,
    version     bigint NOT NULL,
    wrapped     bytea,
    fingerprint text NOT NULL,
    nonces_used bigint NOT NULL DEFAULT 0,
    created_at  text NOT NULL,
    revoked_at  text,
    UNIQUE (cp_id, version),
    CHECK ((wrapped IS NULL) = (revoked_at IS NOT NULL))
  );
  CREATE UNIQUE INDEX charge_point_keys_current ON charge_point_keys (cp_id) WHERE revoked_at IS NULL;

  CREATE TABLE message_nonces (
    key_number bigint NOT NULL,
    nonce      bytea NOT NULL,
    PRIMARY KEY (key_number, nonce)
  );
  -- Keys that are gone and whose nonces are still to be deleted, a piece at a time.
  CREATE TABLE keys_to_sweep (key_number bigint PRIMARY KEY);

  CREATE TABLE admins (
    name       text COLLATE "C" PRIMARY KEY,
    role       text NOT NULL CHECK (role IN ('admin', 'operator', 'auditor')),
    key_hash   text NOT NULL UNIQUE,
    created_at text NOT NULL,
    revoked_at text
  );

  CREATE TABLE last_seen (
    cp_id        text COLLATE "C" PRIMARY KEY REFERENCES charge_points (cp_id) ON DELETE CASCADE,
    last_success text COLLATE "C" NOT NULL
  );
  CREATE TABLE usual_addresses (
    cp_id   text COLLATE "C" NOT NULL REFERENCES charge_points (cp_id) ON DELETE CASCADE,
    network text COLLATE "C" NOT NULL,
    seen_at text COLLATE "C" NOT NULL,
    PRIMARY KEY (cp_id, network)
  );

  -- "instance": whose queue the row is in; '' that of nobody. "queued_at": since when.
  CREATE TABLE outbox (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid      text NOT NULL,
    event     text NOT NULL,
    instance  text NOT NULL,
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp()
  );
  CREATE INDEX outbox_by_instance ON outbox (instance, id);

  CREATE TABLE security_meta (name text PRIMARY KEY, value text NOT NULL);

  -- "mark": told apart even where a failover lost changes and numbers are given again.
  CREATE TABLE security_changes (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mark   uuid NOT NULL DEFAULT gen_random_uuid(),
    kind   text NOT NULL CHECK (kind IN ('commit', 'charge_point', 'admin')),
    name   text NOT NULL
  );
  INSERT INTO security_changes (kind, name) VALUES ('commit', '');
`

/** Before the first row is locked, so that two who change the same row wait in one order. */
const LOCK_TRIGGERS = `
  CREATE FUNCTION security_lock() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      PERFORM pg_advisory_xact_lock(${CHANGE_LOCK});
      RETURN NULL;
    END $$;
  CREATE TRIGGER lock_first BEFORE INSERT OR UPDATE OR DELETE ON charge_points EXECUTE FUNCTION security_lock();
  CREATE TRIGGER lock_first BEFORE INSERT OR UPDATE OR DELETE ON admins EXECUTE FUNCTION security_lock();
  CREATE TRIGGER lock_first BEFORE INSERT OR DELETE ON usual_addresses EXECUTE FUNCTION security_lock();
`

const FEED_TRIGGERS = `
  CREATE FUNCTION tell_charge_point() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF TG_OP <> 'INSERT' THEN INSERT INTO security_changes (kind, name) VALUES ('charge_point', OLD.cp_id); END IF;
      IF TG_OP <> 'DELETE' THEN INSERT INTO security_changes (kind, name) VALUES ('charge_point', NEW.cp_id); END IF;
      RETURN NULL;
    END $$;
  CREATE FUNCTION tell_admin() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO security_changes (kind, name) VALUES ('admin', '');
      RETURN NULL;
    END $$;
  CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON charge_points
    FOR EACH ROW EXECUTE FUNCTION tell_charge_point();
  CREATE TRIGGER tell AFTER INSERT OR DELETE ON usual_addresses FOR EACH ROW EXECUTE FUNCTION tell_charge_point();
  CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON admins EXECUTE FUNCTION tell_admin();
`

const SWEEP_TRIGGERS = `
  CREATE FUNCTION key_is_gone() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO keys_to_sweep VALUES (OLD.number) ON CONFLICT DO NOTHING;
      RETURN NULL;
    END $$;
  CREATE TRIGGER revoked AFTER UPDATE OF revoked_at ON charge_point_keys FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL AND OLD.nonces_used > 0) EXECUTE FUNCTION key_is_gone();
  CREATE TRIGGER deleted AFTER DELETE ON charge_point_keys FOR EACH ROW
    WHEN (OLD.revoked_at IS NULL AND OLD.nonces_used > 0) EXECUTE FUNCTION key_is_gone();
`

const TOLD_TABLES = ['charge_points', 'admins', 'usual_addresses'] as const

const TRUNCATE_TRIGGERS = `
  CREATE FUNCTION refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'instances would not hear that % is empty: use DELETE', TG_TABLE_NAME USING ERRCODE = 'feature_not_supported';
    END $$;
  ${TOLD_TABLES.map(table => `CREATE TRIGGER never BEFORE TRUNCATE ON ${table} EXECUTE FUNCTION refuse_truncate();`).join('\n  ')}
`

/** Of people at a browser. Not in the feed: a session is asked for with every request. */
const SESSIONS = `
  CREATE TABLE sessions (
    id_hash    text PRIMARY KEY,
    admin      text COLLATE "C" NOT NULL,
    key_hash   text NOT NULL,
    created_at text COLLATE "C" NOT NULL,
    expires_at text COLLATE "C" NOT NULL,
    ended_at   text
  );
  CREATE INDEX sessions_of_admin ON sessions (admin, created_at) WHERE ended_at IS NULL;
  CREATE INDEX sessions_by_expiry ON sessions (expires_at);
`

/** Those that may show a name or an address. */
export const STATE_TABLES = [
  'charge_points',
  'charge_point_keys',
  'admins',
  'sessions',
  'last_seen',
  'usual_addresses',
  'outbox',
  'security_changes',
] as const

/** CLUSTER writes a table into new files, without what was deleted; ANALYZE takes the planner's samples anew. */
const REWRITE = `
DECLARE
  key_index text;
BEGIN
  IF NOT written = ANY (ARRAY[${STATE_TABLES.map(table => `'${table}'`).join(', ')}]) THEN
    RAISE EXCEPTION '% is no table of the security state', written USING ERRCODE = 'check_violation';
  END IF;
  PERFORM pg_advisory_xact_lock(${CHANGE_LOCK});
  SELECT i.relname INTO key_index FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indisprimary AND x.indrelid = to_regclass(quote_ident(written));
  EXECUTE format('CLUSTER %I USING %I', written, key_index);
  EXECUTE format('ALTER TABLE %I SET WITHOUT CLUSTER', written);
  EXECUTE format('ANALYZE %I', written);
END`

async function addRewrite(session: Session): Promise<void> {
  await createOwnersFunction(session, 'security_rewrite(written text)', REWRITE)
}

export const SECURITY_SCHEMA: Schema = {
  stage: 'security',
  migrations: [TABLES + LOCK_TRIGGERS + FEED_TRIGGERS + SWEEP_TRIGGERS, SESSIONS, addRewrite, TRUNCATE_TRIGGERS],
  grants: [
    'SELECT, INSERT, UPDATE, DELETE ON charge_points, charge_point_keys, admins, sessions, last_seen, usual_addresses, outbox, security_meta',
    'SELECT, INSERT, DELETE ON message_nonces, keys_to_sweep, security_changes',
    'EXECUTE ON FUNCTION security_lock(), tell_charge_point(), tell_admin(), key_is_gone(), security_rewrite(text)',
  ],
}
