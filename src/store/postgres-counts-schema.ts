/**
 * Counts of blocks of rows in PostgreSQL, a migration of the event database, so that a summary of many rows reads few of them.
 *
 *   event_counts  one row for each block of ids that is complete: its earliest and latest time, and three lists
 *     kinds       events by time, action, severity and reason; the time is cut to the minute in blocks of level 0, else to the hour
 *     who         events and failures by name, of the actions whose `who` is a charge point
 *     ip          events and failures by address
 *
 * A block of level 0 has the 16,384 ids of `event_layout`, one of any other level eight of the level below. So whatever a summary
 * adds up, it is a few blocks of each level, and names that occur again and again are added once for millions of rows. Where they
 * do not, as when somebody invents them, blocks of more than a million names are not made one: that would take long, and whoever archives
 * or erases waits for it. A list is several arrays of equal
 * length; names stand in the order in which the block first has them.
 *
 * What is here is made of the rows, by the function `evc_count_events` alone, at any time after they are there
 * (postgres-counter.ts); without it a summary is as right and slower. Whoever doubts it deletes all of it, and it is made anew. An
 * erasure deletes the blocks of its rows (postgres-erasure-schema.ts), and both hold the row of `event_layout` meanwhile: so no
 * block is made of rows that are being erased. How many ids a block has never changes while there is one.
 */
import { CHARGE_POINT_ACTIONS } from '../event/catalogue.ts'
import { createOwnersFunction } from '../postgres/migrations.ts'
import type { Session } from '../postgres/postgres.ts'
import { ERASE, ERASE_SIGNATURE } from './postgres-erasure-schema.ts'

const BLOCK_IDS = 16_384
const BLOCKS_OF_NEXT_LEVEL = 8
const MERGED_NAMES_MAX = 1_000_000
/** Blocks of half a billion rows: their counts are integers, as arrays of them take half the space of larger ones. */
const LEVEL_MAX = 5

const text = 'text COLLATE "C"'
const texts = 'text[] COLLATE "C"'
const LISTS = ['kind_at', 'kind_action', 'kind_severity', 'kind_reason', 'who', 'ip'] as const

/** No sample of the arrays is kept for the planner: it would be names that an erasure does not reach. */
const TABLE = `
ALTER TABLE event_layout ADD block_ids integer NOT NULL DEFAULT ${BLOCK_IDS} CHECK (block_ids > 0);
CREATE TABLE event_counts (
  level smallint NOT NULL, first_id bigint NOT NULL, last_id bigint NOT NULL, min_time ${text} NOT NULL, max_time ${text} NOT NULL,
  names integer NOT NULL, ${LISTS.map(list => `${list} ${texts}`).join(', ')},
  kind_count integer[], who_count integer[], who_failures integer[], ip_count integer[], ip_failures integer[],
  PRIMARY KEY (level, first_id)
);
ALTER TABLE event_counts ${LISTS.map(list => `ALTER ${list} SET STATISTICS 0`).join(', ')};
`

/** Of which rows the names are counted. Whoever changes that has all blocks deleted. */
export const NAMED_ROWS = {
  who: `who NOT IN ('unknown', '') AND action IN (${[...CHARGE_POINT_ACTIONS].map(action => `'${action}'`).join(', ')})`,
  ip: "ip NOT IN ('-', '')",
} as const

const namesOfRows = (column: 'who' | 'ip') => `(
  SELECT array_agg(name ORDER BY seen) AS names, array_agg(n ORDER BY seen) AS counts, array_agg(failed ORDER BY seen) AS failures
  FROM (SELECT ${column} AS name, min(id) AS seen, count(*)::integer AS n, (count(*) FILTER (WHERE action = 'AUTH_FAIL'))::integer AS failed
    FROM audit_events WHERE id BETWEEN start AND start + span - 1 AND ${NAMED_ROWS[column]} GROUP BY 1) AS counted)`

const namesOfBlocks = (list: 'who' | 'ip') => `(
  SELECT array_agg(name ORDER BY seen) AS names, array_agg(n ORDER BY seen) AS counts, array_agg(failed ORDER BY seen) AS failures
  FROM (SELECT name, min(seen) AS seen, sum(n)::integer AS n, sum(failed)::integer AS failed FROM (
      SELECT unnest(${list}) AS name, unnest(${list}_count) AS n, unnest(${list}_failures) AS failed,
        first_id + generate_subscripts(${list}, 1) AS seen
      FROM event_counts WHERE ${PARTS}) AS of_blocks
    GROUP BY 1) AS counted)`

const PARTS = 'level = l - 1 AND first_id BETWEEN start AND start + span - 1'

const insert = (from: string) => `
  INSERT INTO event_counts (level, first_id, last_id, min_time, max_time, kind_at, kind_action, kind_severity, kind_reason, kind_count,
    who, who_count, who_failures, ip, ip_count, ip_failures, names)
  SELECT l, start, start + span - 1, kinds.*, who.*, ip.*, coalesce(cardinality(who.names), 0) + coalesce(cardinality(ip.names), 0)
  FROM ${from}`

/** The earliest and latest time come with the kinds: asked for alone, the planner would walk the whole index of times. */
const FROM_ROWS = insert(`
  (SELECT min(earliest), max(latest), array_agg(at), array_agg(action), array_agg(severity), array_agg(reason_code), array_agg(n)
    FROM (SELECT left(date_time, 16) AS at, action, severity, reason_code, count(*)::integer AS n,
        min(date_time) AS earliest, max(date_time) AS latest
      FROM audit_events WHERE id BETWEEN start AND start + span - 1 GROUP BY 1, 2, 3, 4) AS counted) AS kinds,
  ${namesOfRows('who')} AS who,
  ${namesOfRows('ip')} AS ip`)

const FROM_BLOCKS = insert(`
  (SELECT min(earliest), max(latest), array_agg(at), array_agg(action), array_agg(severity), array_agg(reason), array_agg(n)
    FROM (SELECT at, action, severity, reason, sum(n)::integer AS n, min(min_time) AS earliest, max(max_time) AS latest FROM (
        SELECT left(unnest(kind_at), 13) AS at, unnest(kind_action) AS action, unnest(kind_severity) AS severity,
          unnest(kind_reason) AS reason, unnest(kind_count) AS n, min_time, max_time
        FROM event_counts WHERE ${PARTS}) AS of_blocks
      GROUP BY 1, 2, 3, 4) AS counted) AS kinds,
  ${namesOfBlocks('who')} AS who,
  ${namesOfBlocks('ip')} AS ip`)

/**
 * Makes the counts of one block: of the lowest level that lacks one. False when there is none, or somebody else makes one now.
 * A partition of which the planner knows nothing is analyzed with its first block: autovacuum comes up to minutes later, and until
 * then rare values would be looked for row by row. Looks twice: first without the lock, which is a write, then behind it, as somebody
 * else may have made it meanwhile.
 */
const COUNT = `
DECLARE
  ids bigint; size bigint; oldest bigint; span bigint; start bigint; l integer; unknown text;
BEGIN
  FOR look IN 1..2 LOOP
    SELECT h.size, coalesce((SELECT min(first_id) FROM event_partitions), 1) INTO size, oldest FROM log_head h;
    SELECT block_ids INTO ids FROM event_layout;
    FOR level_looked_at IN 0..${LEVEL_MAX} LOOP
      l := level_looked_at;
      span := ids * (${BLOCKS_OF_NEXT_LEVEL} ^ l)::bigint;
      SELECT n * span + 1 INTO start FROM generate_series((oldest + span - 2) / span, size / span - 1) AS n
        WHERE NOT EXISTS (SELECT FROM event_counts c WHERE c.level = l AND c.first_id = n * span + 1)
        AND (l = 0 OR (SELECT count(*) = ${BLOCKS_OF_NEXT_LEVEL} AND sum(c.names) <= ${MERGED_NAMES_MAX} FROM event_counts c
          WHERE c.level = l - 1 AND c.first_id BETWEEN n * span + 1 AND (n + 1) * span))
        ORDER BY n LIMIT 1;
      EXIT WHEN FOUND;
    END LOOP;
    IF start IS NULL THEN RETURN false; END IF;
    IF look = 1 THEN
      PERFORM FROM event_layout FOR UPDATE SKIP LOCKED;
      IF NOT FOUND THEN RETURN false; END IF;
    END IF;
  END LOOP;
  IF l = 0 THEN ${FROM_ROWS}; ELSE ${FROM_BLOCKS}; END IF;
  SELECT table_name INTO unknown FROM event_partitions p WHERE start BETWEEN p.first_id AND p.last_id
    AND NOT EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = current_schema() AND s.tablename = p.table_name);
  IF FOUND THEN EXECUTE format('ANALYZE %I', unknown); END IF;
  RETURN true;
END`

export async function addCounts(session: Session): Promise<void> {
  await session.query(TABLE)
  await createOwnersFunction(session, 'evc_count_events()', COUNT, 'boolean')
  await createOwnersFunction(session, ERASE_SIGNATURE, ERASE) // as it is now
}

export const COUNTS_GRANTS: readonly string[] = ['SELECT ON event_counts', 'EXECUTE ON FUNCTION evc_count_events()']
