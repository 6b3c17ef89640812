/**
 * The event database on PostgreSQL, as versioned migrations (postgres/migrations.ts).
 *
 * `audit_events` has the documented 14 columns and 6 index names, and one index more for reasons. It is partitioned by id: what grows old
 * leaves as a whole table, and the indexes that take rows stay small. Text is compared by bytes (COLLATE "C"), as SQLite does; that is
 * also faster to index.
 *
 *   event_layout      how many ids a partition has, and a block of counts
 *   event_partitions  which ids are in which table
 *   event_times       the first and last time of every complete 1,024 ids: time ranges become id ranges
 *   positions         how far each source (a journal, an import) has been indexed
 *   once_keys         rows that must never be written twice
 *   log_head          one row: size, root, the roots of the perfect subtrees. Whoever holds it appends
 *   log_edge          of each level of tiles, the hashes of the one that is not full
 *   log_tiles         full tiles (8,192 bytes), and full entry bundles as level -1; never changed
 *   log_salts         of every batch the salts of its rows, 16 bytes each, zeros where a row was erased; and the commitments
 *                     of those rows whose bundle was not full after it
 *   log_erasures      of each erased row the event that says so, its tombstone
 *
 * What erasure needs besides is in postgres-erasure-schema.ts, what retention needs in postgres-retention-schema.ts, and what summaries are
 * made of in postgres-counts-schema.ts.
 *
 * The runtime role may insert rows, tiles and salts, and change none of them: only head, edge and positions move. Partitions are
 * made, taken out as archives, rows counted and erased, and tables written anew after that, by functions that run with the owner's
 * rights and do nothing else.
 */

import { EMPTY_ROOT } from '../evidence/merkle.ts'
import { createOwnersFunction, type Schema } from '../postgres/migrations.ts'
import type { Session } from '../postgres/postgres.ts'
import { addCounts, COUNTS_GRANTS } from './postgres-counts-schema.ts'
import { addErasure, ERASURE_GRANTS } from './postgres-erasure-schema.ts'
import { addArchiveFile, addRetention, RETENTION_GRANTS } from './postgres-retention-schema.ts'

/** Rows of a partition. Its indexes fit the memory of a small server; a hundred million rows have 191. */
const PARTITION_IDS = 524_288
/** Partitions are made for no more ids than that ahead of the last row; more than a batch has. */
const AHEAD_IDS = 1_048_576
const INDEXED = ['date_time', 'who', 'action', 'ip', 'severity', 'request_id'] as const

const text = 'text COLLATE "C"'

const TABLES = `
CREATE TABLE audit_events (
  id bigint NOT NULL PRIMARY KEY,
  date_time ${text} NOT NULL,
  who ${text} NOT NULL,
  ip ${text} NOT NULL,
  action ${text} NOT NULL,
  description ${text} NOT NULL,
  severity ${text} NOT NULL,
  reason_code ${text},
  request_id ${text},
  endpoint ${text},
  http_method ${text},
  status_code bigint,
  metadata_json ${text},
  created_at ${text} NOT NULL
) PARTITION BY RANGE (id);
${INDEXED.map(column => `CREATE INDEX idx_audit_${column} ON audit_events (${column});`).join('\n')}
CREATE INDEX event_reasons ON audit_events (reason_code) WHERE reason_code IS NOT NULL;
CREATE TABLE event_layout (one boolean PRIMARY KEY DEFAULT true CHECK (one), partition_ids integer NOT NULL CHECK (partition_ids % 1024 = 0));
INSERT INTO event_layout (partition_ids) VALUES (${PARTITION_IDS});
CREATE TABLE event_partitions (number integer PRIMARY KEY, table_name text NOT NULL, first_id bigint NOT NULL, last_id bigint NOT NULL);
CREATE TABLE event_times (chunk integer PRIMARY KEY, min_time ${text} NOT NULL, max_time ${text} NOT NULL);
CREATE TABLE positions (source ${text} PRIMARY KEY, position bigint NOT NULL);
CREATE TABLE once_keys (key bytea PRIMARY KEY);
CREATE TABLE log_head (
  one boolean PRIMARY KEY DEFAULT true CHECK (one), size bigint NOT NULL, root bytea NOT NULL, edge bytea NOT NULL
);
CREATE TABLE log_edge (level smallint PRIMARY KEY, tile bigint NOT NULL, hashes bytea NOT NULL);
CREATE TABLE log_tiles (level smallint NOT NULL, tile bigint NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (level, tile));
CREATE TABLE log_salts (first_id bigint PRIMARY KEY, last_id bigint NOT NULL, salts bytea NOT NULL, commitments bytea NOT NULL);
CREATE TABLE log_erasures (id bigint PRIMARY KEY, tombstone bigint NOT NULL);
ALTER TABLE log_tiles ALTER bytes SET STORAGE EXTERNAL; -- measured: compressing bundles takes a tenth of the time of a batch
ALTER TABLE log_edge ALTER hashes SET STORAGE EXTERNAL; -- hashes and salts cannot be compressed
ALTER TABLE log_salts ALTER salts SET STORAGE EXTERNAL, ALTER commitments SET STORAGE EXTERNAL;
`

/**
 * ATTACH, unlike PARTITION OF, does not wait for those who read the table. The first partition of a log that was moved here begins
 * behind what had left it before.
 */
const ADD_PARTITION = `
DECLARE
  n integer; first bigint; ids integer; name text;
BEGIN
  SELECT coalesce(max(number), 0) + 1 INTO n FROM event_partitions;
  SELECT coalesce(greatest((SELECT max(last_id) FROM event_partitions), (SELECT max(last_id) FROM event_archives)), 0) + 1 INTO first;
  SELECT partition_ids INTO ids FROM event_layout;
  IF first > (SELECT size FROM log_head) + ${AHEAD_IDS} THEN RETURN; END IF; -- nobody may fill the catalogue with tables
  name := 'audit_events_' || n;
  EXECUTE format('CREATE TABLE %I (LIKE audit_events INCLUDING ALL)', name);
  EXECUTE format('ALTER TABLE audit_events ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name, first, first + ids);
  INSERT INTO event_partitions VALUES (n, name, first, first + ids - 1);
END`

async function first(session: Session): Promise<void> {
  await session.query(TABLES)
  await session.query("INSERT INTO log_head (size, root, edge) VALUES (0, $1, '')", [Buffer.from(EMPTY_ROOT)])
  await createOwnersFunction(session, 'evc_add_partition()', ADD_PARTITION)
}

async function addPartitionsBehindArchives(session: Session): Promise<void> {
  await createOwnersFunction(session, 'evc_add_partition()', ADD_PARTITION) // as it is now
}

/** What counts up, in tables that the runtime role may write: only their owner sets it back. */
const ONLY_FORWARD = `
CREATE FUNCTION refuse_going_back() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    IF pg_has_role(current_user, (SELECT relowner FROM pg_catalog.pg_class WHERE oid = TG_RELID), 'MEMBER') THEN RETURN NEW; END IF;
    RAISE EXCEPTION '% only goes forward', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
  END $$;
CREATE TRIGGER only_forward BEFORE UPDATE ON log_head FOR EACH ROW
  WHEN (NEW.size < OLD.size) EXECUTE FUNCTION refuse_going_back();
CREATE TRIGGER only_forward BEFORE UPDATE ON journal_clearing FOR EACH ROW
  WHEN (NEW.asked < OLD.asked) EXECUTE FUNCTION refuse_going_back();
`

async function addGuards(session: Session): Promise<void> {
  await session.query(ONLY_FORWARD)
  await addArchiveFile(session)
}

export const STORE_SCHEMA: Schema = {
  stage: 'events',
  migrations: [first, addErasure, addRetention, addCounts, addPartitionsBehindArchives, addGuards],
  grants: [
    'SELECT, INSERT ON audit_events, event_times, once_keys, log_tiles, log_salts',
    'SELECT ON event_layout, event_partitions, log_erasures',
    'SELECT, INSERT, UPDATE ON positions, log_edge',
    'SELECT, UPDATE ON log_head',
    'EXECUTE ON FUNCTION evc_add_partition()',
    ...ERASURE_GRANTS,
    ...RETENTION_GRANTS,
    ...COUNTS_GRANTS,
  ],
}
