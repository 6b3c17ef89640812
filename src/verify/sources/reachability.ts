/**
 * Whether queries reach every row that is stored: through `event_segments` and through the view `audit_events`; through indexes:
 * indexes.ts. A row that nobody finds is as good as deleted.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { RowsOverview } from '../source.ts'
import type { Finding } from '../verdict.ts'
import type { LogDatabase, Segment } from './log-database.ts'

const VIEW = 'audit_events'
const COLUMNS = [
  'id',
  'date_time',
  'who',
  'ip',
  'action',
  'description',
  'severity',
  'reason_code',
  'request_id',
  'endpoint',
  'http_method',
  'status_code',
  'metadata_json',
  'created_at',
].join(', ')
/** As many as SQLite joins: beyond, older segments stand behind a view of their own. */
const TABLES_PER_VIEW_MAX = 400

type HiddenRange = RowsOverview['hidden'][number]

/** Rows in tables that are not listed, or in a listed one, but not where its ids say. */
export function findHiddenRanges({ db, segments }: LogDatabase): HiddenRange[] {
  const ranges: HiddenRange[] = []
  const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'audit_events*'").all()
  for (const { name } of tables) {
    const table = String(name)
    if (!/^audit_events(?:_[1-9][0-9]*)?$/.test(table) || segments.some(segment => segment.table === table)) continue
    add(`It is in ${table}, which event_segments does not list`, `FROM ${table}`)
  }
  for (const { table, first, last } of segments) {
    const detail = `It is in ${table}, outside of the ids that event_segments says of it`
    add(detail, `FROM ${table} WHERE id BETWEEN 1 AND ${first - 1}`)
    if (Number.isFinite(last)) add(detail, `FROM ${table} WHERE id > ${last}`)
  }
  return ranges

  function add(detail: string, from: string): void {
    const found = db.prepare(`SELECT min(id) AS first, max(id) AS last ${from}`).get()
    if (typeof found?.first === 'number') ranges.push({ first: found.first, last: Number(found.last), detail })
  }
}

/** Rows that no leaf can be of, segments that stand in each other's way, and a view that is not the documented one. */
export function* findUnreachable(
  database: LogDatabase,
  hidden: readonly HiddenRange[],
  size: number,
): Generator<Finding> {
  const { db, segments } = database
  for (const { table, first, last } of segments) {
    const beyond = db.prepare(`SELECT min(id) AS id FROM ${table} WHERE id > ?`).get(size)?.id
    if (typeof beyond === 'number') yield inserted(beyond, 'It is behind the end of the log')
    const below = db.prepare(`SELECT min(id) AS id FROM ${table} WHERE id < 1`).get()?.id
    if (typeof below === 'number') yield inserted(below, 'Ids count from 1')
    const next = segments.find(segment => segment.first > first)
    if (next !== undefined && last >= next.first) {
      yield {
        verdict: 'HIDDEN',
        at: { id: next.first },
        detail: `event_segments says of ${table} that it goes on to there`,
      }
    }
  }
  for (const { first, last } of hidden) {
    const twice = firstStoredTwice(database, first, Math.min(last, size))
    if (twice !== undefined) yield inserted(twice, 'Its id is stored twice')
  }
  yield* checkView(database, hidden.length > 0)
}

const inserted = (id: number, detail: string): Finding => ({ verdict: 'INSERTED', at: { id }, detail })

function firstStoredTwice({ db, segments }: LogDatabase, first: number, last: number): number | undefined {
  const ids = segments.flatMap(segment => {
    const [from, to] = [Math.max(first, segment.first), Math.min(last, segment.last)]
    const id =
      from > to
        ? null
        : db.prepare(`SELECT min(id) AS id FROM ${segment.table} WHERE id BETWEEN ? AND ?`).get(from, to)?.id
    return typeof id === 'number' ? [id] : []
  })
  return ids.length === 0 ? undefined : Math.min(...ids)
}

/** The text of the view is the documented one; if it is not, which row it does not show, or shows otherwise. */
function* checkView({ db, listed, segments }: LogDatabase, isToldOf: boolean): Generator<Finding> {
  if (listed.length === 1 && listed[0]!.table === VIEW) return
  const expected = viewsOf(listed)
  const views = db
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'view' AND name GLOB 'audit_events*'")
    .all()
  const found = new Map(views.map(({ name, sql }) => [String(name), String(sql)]))
  if ([...expected].every(([name, sql]) => found.get(name) === sql)) return
  const detail = 'The view audit_events is not the one of all segments'
  for (const { table } of segments) {
    const id = firstNotShown(db, table)
    if (id !== undefined) return yield { verdict: 'HIDDEN', at: { id }, detail }
  }
  // It shows all of these, and more or otherwise: of segments that are not listed, if there are any.
  if (!isToldOf) yield { verdict: 'HIDDEN', at: { id: segments[0]?.first ?? 1 }, detail }
}

/** The first row that the view does not show as it is. */
function firstNotShown(db: DatabaseSync, table: string): number | undefined {
  try {
    const found = db
      .prepare(`SELECT min(id) AS id FROM (SELECT ${COLUMNS} FROM ${table} EXCEPT SELECT ${COLUMNS} FROM ${VIEW})`)
      .get()
    return typeof found?.id === 'number' ? found.id : undefined
  } catch {
    const found = db.prepare(`SELECT min(id) AS id FROM ${table}`).get() // it shows nothing at all
    return typeof found?.id === 'number' ? found.id : undefined
  }
}

function viewsOf(segments: readonly Segment[]): Map<string, string> {
  const union = (tables: readonly string[]) =>
    tables.map(table => `SELECT ${COLUMNS} FROM ${table}`).join('\nUNION ALL\n')
  const views = new Map<string, string>()
  let tables: string[] = []
  for (const { number, table } of segments) {
    tables.push(table)
    if (tables.length < TABLES_PER_VIEW_MAX) continue
    const older = `${VIEW}_upto_${number}`
    views.set(older, `CREATE VIEW ${older} AS\n${union(tables)}`)
    tables = [older]
  }
  return views.set(VIEW, `CREATE VIEW ${VIEW} AS\n${union(tables)}`)
}
