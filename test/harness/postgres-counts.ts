/** The oracle of the counts in PostgreSQL: each block that there is says what its rows say. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

const BLOCKS_OF_NEXT_LEVEL = 8
const WAIT_MS = 60_000
const OF_CHARGE_POINTS =
  "action IN ('AUTH_SUCCESS', 'AUTH_FAIL', 'STATUS_CHANGE', 'KEY_GENERATE', 'KEY_RESET', 'KEY_REVOKE', 'SECURITY_EVENT')"

const listed = (list: 'who' | 'ip') =>
  `(SELECT jsonb_object_agg(name, ARRAY[n, failed]) FROM unnest(${list}, ${list}_count, ${list}_failures) AS list (name, n, failed))`
const counted = (column: 'who' | 'ip', condition: string) => `(SELECT jsonb_object_agg(name, ARRAY[n, failed]) FROM (
  SELECT ${column} AS name, count(*) AS n, count(*) FILTER (WHERE action = 'AUTH_FAIL') AS failed
  FROM audit_events WHERE id BETWEEN first_id AND last_id AND ${condition} GROUP BY 1) AS names)`
const kind = "concat_ws('|', at, action, severity, coalesce(reason, '-'))"

const SELECT_OTHER = `SELECT level, first_id FROM event_counts WHERE
  ${listed('who')} IS DISTINCT FROM ${counted('who', `who NOT IN ('', 'unknown') AND ${OF_CHARGE_POINTS}`)}
  OR ${listed('ip')} IS DISTINCT FROM ${counted('ip', "ip NOT IN ('', '-')")}
  OR (SELECT jsonb_object_agg(${kind}, n) FROM unnest(kind_at, kind_action, kind_severity, kind_reason, kind_count)
      AS list (at, action, severity, reason, n))
    IS DISTINCT FROM (SELECT jsonb_object_agg(${kind}, n) FROM (
      SELECT left(date_time, CASE level WHEN 0 THEN 16 ELSE 13 END) AS at, action, severity, reason_code AS reason, count(*) AS n
      FROM audit_events WHERE id BETWEEN first_id AND last_id GROUP BY 1, 2, 3, 4) AS kinds)
  OR (min_time, max_time) IS DISTINCT FROM
    (SELECT (min(date_time), max(date_time)) FROM audit_events WHERE id BETWEEN first_id AND last_id)`

/** Waits for all blocks that are due, having one made where nobody does. @param blockIds of `event_layout` */
export async function assertCounted(url: string, blockIds: number): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<{ size: string; left: string }>(
      'SELECT size, (SELECT min(first_id) - 1 FROM event_partitions) AS left FROM log_head',
    )
    const [size, left] = [Number(rows[0]?.size), Number(rows[0]?.left)]
    let due = 0
    for (let ids = blockIds; ids <= size; ids *= BLOCKS_OF_NEXT_LEVEL)
      due += Math.max(0, Math.floor(size / ids) - Math.ceil(left / ids))
    const ask = async () => Number((await client.query('SELECT count(*) AS n FROM event_counts')).rows[0]?.n)
    for (const until = performance.now() + WAIT_MS; (await ask()) < due; ) {
      if (performance.now() > until) assert.fail(`${await ask()} of ${due} blocks are counted`)
      const made = await client.query<{ made: boolean }>('SELECT evc_count_events() AS made')
      if (made.rows[0]?.made === false) await sleep(5)
    }
    assert.equal(await ask(), due)
    assert.deepEqual((await client.query(SELECT_OTHER)).rows, [])
  } finally {
    await client.end()
  }
}
