/**
 * The tables and functions of erasure in PostgreSQL, a migration of the event database.
 *
 *   legal_holds       time ranges whose events stay; a row for as long as the hold lasts
 *   rewrites_due      tables whose files may still show what was erased, until they are written anew
 *   journal_clearing  how many times all instances were asked to clear their journals (postgres-journals.ts)
 *
 * The runtime role can change rows of the trail by `evc_erase_events` alone: exactly those rows that a tombstone in the log tells
 * of, by the digest of their ids. What is due after that, the function puts on record itself.
 */
import { createOwnersFunction } from '../postgres/migrations.ts'
import type { Session } from '../postgres/postgres.ts'

const text = 'text COLLATE "C"'

const TABLES = `
CREATE TABLE legal_holds (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, start_time ${text} NOT NULL, end_time ${text} NOT NULL, reason ${text} NOT NULL,
  placed_by ${text} NOT NULL, placed_at ${text} NOT NULL
);
CREATE TABLE rewrites_due (table_name text PRIMARY KEY);
CREATE TABLE journal_clearing (one boolean PRIMARY KEY DEFAULT true CHECK (one), asked bigint NOT NULL);
INSERT INTO journal_clearing (asked) VALUES (0);
`

/**
 * Blanks the private columns of rows and destroys their salts; leaf, tree and every proof given before stay as they are. May be
 * repeated: the same rows, the same tombstone. Counts of blocks that have one of them (postgres-counts-schema.ts) go, to be made anew.
 */
export const ERASE_SIGNATURE = 'evc_erase_events(ids bigint[], by_event bigint)'

export const ERASE = `
DECLARE
  told text; batch record; one bigint; zeroed bytea;
BEGIN
  SELECT metadata_json::json ->> 'ids_sha256' INTO told FROM audit_events
    WHERE id = by_event AND action = 'SYSTEM' AND reason_code = 'ERASED' AND id <= (SELECT size FROM log_head FOR UPDATE);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'event % is no tombstone', by_event USING ERRCODE = 'check_violation';
  END IF;
  IF told IS DISTINCT FROM
    (SELECT encode(sha256(convert_to(string_agg(i::text, E'\\n' ORDER BY i), 'UTF8')), 'hex') FROM unnest(ids) AS i) THEN
    RAISE EXCEPTION 'event % tells of other rows', by_event USING ERRCODE = 'check_violation';
  END IF;
  IF EXISTS (SELECT FROM unnest(ids) AS i WHERE i NOT BETWEEN 1 AND by_event - 1)
    OR EXISTS (SELECT FROM audit_events WHERE id = ANY (ids) AND action = 'SYSTEM' AND reason_code = 'ERASED') THEN
    RAISE EXCEPTION 'neither tombstones nor what is behind them can be erased' USING ERRCODE = 'check_violation';
  END IF;
  IF EXISTS (SELECT FROM legal_holds h, audit_events e WHERE e.id = ANY (ids)
    AND e.date_time::timestamptz >= h.start_time::timestamptz AND e.date_time::timestamptz < h.end_time::timestamptz) THEN
    RAISE EXCEPTION 'a legal hold keeps one of these rows' USING ERRCODE = 'check_violation';
  END IF;
  UPDATE audit_events SET who = '', ip = '', description = '', request_id = NULL, endpoint = NULL, http_method = NULL,
    metadata_json = NULL WHERE id = ANY (ids);
  FOR batch IN
    SELECT b.first_id, array_agg(i) AS erased FROM unnest(ids) AS i
    CROSS JOIN LATERAL (SELECT s.first_id FROM log_salts s WHERE s.first_id <= i ORDER BY s.first_id DESC LIMIT 1) AS b
    GROUP BY b.first_id
  LOOP
    SELECT salts INTO zeroed FROM log_salts WHERE first_id = batch.first_id;
    FOREACH one IN ARRAY batch.erased LOOP
      zeroed := overlay(zeroed PLACING decode(repeat('00', 16), 'hex') FROM ((one - batch.first_id) * 16 + 1)::integer);
    END LOOP;
    UPDATE log_salts SET salts = zeroed WHERE first_id = batch.first_id;
  END LOOP;
  UPDATE event_layout SET one = true; -- nobody counts meanwhile, and afterwards nobody who still sees what was there
  DELETE FROM event_counts WHERE EXISTS (
    SELECT FROM (SELECT DISTINCT (i - 1) / block_ids * block_ids + 1 AS id FROM unnest(ids) AS i, event_layout) AS touched
    WHERE touched.id BETWEEN first_id AND last_id);
  INSERT INTO log_erasures SELECT i, by_event FROM unnest(ids) AS i ON CONFLICT DO NOTHING;
  INSERT INTO rewrites_due
    SELECT table_name FROM event_partitions WHERE EXISTS (SELECT FROM unnest(ids) AS i WHERE i BETWEEN first_id AND last_id)
    UNION SELECT unnest(ARRAY['log_salts', 'legal_holds', 'event_counts']) -- also of counts that are gone, as with a partition
    ON CONFLICT DO NOTHING;
  UPDATE journal_clearing SET asked = asked + 1;
END`

/**
 * CLUSTER writes a table that is due, and its indexes, into new files, without what was deleted. Nobody reads or writes it
 * meanwhile. The samples that ANALYZE takes for the planner hold values of columns, so they are taken anew.
 */
const FINISH = `
DECLARE
  key_index text;
BEGIN
  IF NOT EXISTS (SELECT FROM rewrites_due WHERE table_name = due) THEN RETURN; END IF;
  SELECT i.relname INTO key_index FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indisprimary AND x.indrelid = to_regclass(quote_ident(due));
  IF FOUND THEN
    EXECUTE format('CLUSTER %I USING %I', due, key_index);
    EXECUTE format('ALTER TABLE %I SET WITHOUT CLUSTER', due);
    EXECUTE format('ANALYZE %I', due);
  END IF;
  DELETE FROM rewrites_due WHERE table_name = due;
END`

export async function addErasure(session: Session): Promise<void> {
  await session.query(TABLES)
  await createOwnersFunction(session, ERASE_SIGNATURE, ERASE)
  await createOwnersFunction(session, 'evc_finish_erasure(due text)', FINISH)
}

export const ERASURE_GRANTS: readonly string[] = [
  'SELECT, INSERT, DELETE ON legal_holds',
  'SELECT ON rewrites_due',
  'SELECT, UPDATE ON journal_clearing',
  'EXECUTE ON FUNCTION evc_erase_events(bigint[], bigint), evc_finish_erasure(text)',
]
