/**
 * The table and the functions by which partitions leave a PostgreSQL as archives, a migration of the event database.
 *
 *   event_archives          one row for each partition that left, with its file and the digest of its manifest; for ever
 *   event_layout.keep_days  younger events do not leave, whoever asks; the owner's to set, 0 at first
 *
 * The runtime role drops nothing itself. `evc_archive_partition` takes out the oldest partition, and that alone: its rows, their
 * salts, and what is kept of their times and counts. It does so only where an event of the log tells of exactly this archive, a checkpoint
 * covers the partition and no legal hold keeps it; what it cannot see is the file, which its caller has read back by then. Tiles
 * and entries stay: proofs given before, and mirrors, need them. `evc_replace_archive` notes another digest of an archive that an
 * erasure has written anew, as its tombstone tells.
 */
import { createOwnersFunction } from '../postgres/migrations.ts'
import type { Session } from '../postgres/postgres.ts'

const text = 'text COLLATE "C"'

const TABLES = `
CREATE TABLE event_archives (
  number integer PRIMARY KEY, first_id bigint NOT NULL, last_id bigint NOT NULL, first_time ${text} NOT NULL,
  last_time ${text} NOT NULL, file ${text} NOT NULL, sha256 ${text} NOT NULL, manifest_sha256 ${text} NOT NULL,
  archived_at ${text} NOT NULL
);
ALTER TABLE event_layout ADD COLUMN keep_days integer NOT NULL DEFAULT 0 CHECK (keep_days >= 0);
`

/** Of 1,024 ids; as chunk-sets.ts has it. What was released is never edited, so it is spelled here. */
const CHUNK_IDS = 1_024
const SALT_BYTES = 16
/** A longer text is cut in an event. */
const TOLD_CHARACTERS_MAX = 500

const ARCHIVE = `
DECLARE
  a event_archives; oldest event_partitions; told json; next_number integer; next_id bigint;
  first_chunk integer; last_chunk integer; first_time timestamptz; last_time timestamptz; days integer;
BEGIN
  a := json_populate_record(NULL::event_archives, archive);
  SELECT metadata_json::json INTO told FROM audit_events
    WHERE id = by_event AND action = 'SYSTEM' AND reason_code = 'ARCHIVED' AND id <= (SELECT size FROM log_head FOR UPDATE);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'event % tells of no archive', by_event USING ERRCODE = 'check_violation';
  END IF;
  IF told ->> 'archive' IS DISTINCT FROM a.number::text OR told ->> 'first_id' IS DISTINCT FROM a.first_id::text
    OR told ->> 'last_id' IS DISTINCT FROM a.last_id::text OR told ->> 'sha256' IS DISTINCT FROM a.sha256
    OR told ->> 'manifest_sha256' IS DISTINCT FROM a.manifest_sha256 OR told ->> 'first_time' IS DISTINCT FROM a.first_time
    OR told ->> 'last_time' IS DISTINCT FROM a.last_time
    OR (told ->> 'file' IS DISTINCT FROM a.file AND length(a.file) <= ${TOLD_CHARACTERS_MAX}) THEN
    RAISE EXCEPTION 'event % tells of another archive', by_event USING ERRCODE = 'check_violation';
  END IF;
  SELECT * INTO oldest FROM event_partitions ORDER BY number LIMIT 1;
  IF a.first_id IS DISTINCT FROM oldest.first_id OR a.last_id IS DISTINCT FROM oldest.last_id OR a.last_id >= by_event THEN
    RAISE EXCEPTION 'the events % to % are not the oldest partition', a.first_id, a.last_id USING ERRCODE = 'check_violation';
  END IF;
  SELECT coalesce(max(number), 0) + 1, coalesce(max(last_id), 0) + 1 INTO next_number, next_id FROM event_archives;
  IF a.number IS DISTINCT FROM next_number OR a.first_id IS DISTINCT FROM next_id THEN
    RAISE EXCEPTION 'archive % does not follow on the one before', a.number USING ERRCODE = 'check_violation';
  END IF;
  IF NOT EXISTS (SELECT FROM log_checkpoints WHERE size >= a.last_id) THEN
    RAISE EXCEPTION 'no checkpoint covers event %', a.last_id USING ERRCODE = 'check_violation';
  END IF;
  first_chunk := (a.first_id - 1) / ${CHUNK_IDS};
  last_chunk := (a.last_id - 1) / ${CHUNK_IDS};
  -- Of the rows, not of event_times: that the runtime role may write.
  EXECUTE format('SELECT min(date_time)::timestamptz, max(date_time)::timestamptz FROM %I', oldest.table_name)
    INTO STRICT first_time, last_time;
  IF last_time IS NULL THEN
    RAISE EXCEPTION 'the oldest partition has no rows' USING ERRCODE = 'check_violation';
  END IF;
  SELECT keep_days INTO days FROM event_layout FOR UPDATE; -- nobody counts rows meanwhile (postgres-counts-schema.ts)
  IF days > 0 AND last_time > now() - days * interval '1 day' THEN
    RAISE EXCEPTION 'the owner keeps events of the last % days', days USING ERRCODE = 'check_violation';
  END IF;
  IF EXISTS (SELECT FROM legal_holds h
    WHERE last_time >= h.start_time::timestamptz AND first_time < h.end_time::timestamptz) THEN
    RAISE EXCEPTION 'a legal hold keeps one of these rows' USING ERRCODE = 'check_violation';
  END IF;
  EXECUTE format('DROP TABLE %I', oldest.table_name);
  DELETE FROM event_partitions WHERE number = oldest.number;
  DELETE FROM event_times WHERE chunk BETWEEN first_chunk AND last_chunk;
  DELETE FROM log_salts WHERE last_id <= a.last_id;
  -- Of a batch that ends in a later partition the salts of that stay; commitments are those of its last rows.
  UPDATE log_salts SET first_id = a.last_id + 1,
    salts = substring(salts FROM ((a.last_id - first_id + 1) * ${SALT_BYTES} + 1)::integer) WHERE first_id <= a.last_id;
  DELETE FROM rewrites_due WHERE table_name = oldest.table_name;
  DELETE FROM event_counts WHERE first_id <= a.last_id;
  INSERT INTO event_archives SELECT (a).*;
END`

/** More manifests than fit into an event are not told by it; that it wrote archives anew is. */
const REPLACE = `
DECLARE
  told json; known text;
BEGIN
  SELECT metadata_json::json INTO told FROM audit_events
    WHERE id = by_event AND action = 'SYSTEM' AND reason_code = 'ERASED' AND id <= (SELECT size FROM log_head FOR UPDATE);
  known := told -> 'manifests' ->> archive_number::text;
  IF told ->> 'archives' IS NULL OR (told -> 'manifests' IS NOT NULL AND known IS DISTINCT FROM manifest) THEN
    RAISE EXCEPTION 'event % does not tell of this manifest', by_event USING ERRCODE = 'check_violation';
  END IF;
  IF NOT EXISTS (SELECT FROM log_erasures e, event_archives a WHERE e.tombstone = by_event AND a.number = archive_number
    AND e.id BETWEEN a.first_id AND a.last_id) THEN
    RAISE EXCEPTION 'event % erased nothing of archive %', by_event, archive_number USING ERRCODE = 'check_violation';
  END IF;
  UPDATE event_archives SET sha256 = events, manifest_sha256 = manifest WHERE number = archive_number;
END`

const ARCHIVE_SIGNATURE = 'evc_archive_partition(archive json, by_event bigint)'
const REPLACE_SIGNATURE = 'evc_replace_archive(archive_number integer, events text, manifest text, by_event bigint)'

export async function addRetention(session: Session): Promise<void> {
  await session.query(TABLES)
  await createOwnersFunction(session, ARCHIVE_SIGNATURE, ARCHIVE)
  await createOwnersFunction(session, REPLACE_SIGNATURE, REPLACE)
}

/** As it is now: it compares times and file, too. */
export const addArchiveFile = (session: Session) => createOwnersFunction(session, ARCHIVE_SIGNATURE, ARCHIVE)

export const RETENTION_GRANTS: readonly string[] = [
  'SELECT ON event_archives',
  'EXECUTE ON FUNCTION evc_archive_partition(json, bigint), evc_replace_archive(integer, text, text, bigint)',
]
