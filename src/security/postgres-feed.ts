/** What the copy in memory (cached-state.ts) is made of, read from PostgreSQL: everything, and what changed since. */
import type { Postgres, Session } from '../postgres/postgres.ts'
import type { FeedNews, FeedPosition, StateFeed, Visitor } from './cached-state.ts'
import { ADMIN, CHARGE_POINT } from './postgres-reads.ts'
import type { AdminRecord } from './security-state.ts'

const PAGE_CHARGE_POINTS = 2_000
const CHANGES_AT_ONCE = 5_000

const VISITOR = `SELECT ${CHARGE_POINT},
  (SELECT array_agg(network) FROM usual_addresses AS usual WHERE usual.cp_id = cp.cp_id) AS networks
  FROM charge_points AS cp`
const ADMINS = `SELECT ${ADMIN} FROM admins ORDER BY name`

interface Change {
  readonly number: number
  readonly mark: string
  readonly kind: 'commit' | 'charge_point' | 'admin'
  readonly name: string
}

export function createPostgresFeed(postgres: Pick<Postgres, 'use' | 'snapshot'>): StateFeed {
  return {
    everything: take =>
      postgres.snapshot(async session => {
        for (let after = ''; ; ) {
          const page = await session.query<Visitor>(`${VISITOR} WHERE cp_id > $1 ORDER BY cp_id LIMIT $2`, [
            after,
            PAGE_CHARGE_POINTS,
          ])
          take(page.rows)
          if (page.rows.length < PAGE_CHARGE_POINTS) break
          after = page.rows.at(-1)?.cp_id ?? ''
        }
        const newest = await session.query<FeedPosition>(
          'SELECT number, mark FROM security_changes ORDER BY number DESC LIMIT 1',
        )
        return { position: newest.rows[0] as FeedPosition, admins: await readAdmins(session) }
      }),

    since: position =>
      postgres.use(async (session): Promise<FeedNews | undefined> => {
        // From the last one that was seen on: if it is not there, or another one, this is not the history that we followed.
        const { rows } = await session.query<Change>(
          'SELECT number, mark, kind, name FROM security_changes WHERE number >= $1 ORDER BY number LIMIT $2',
          [position.number, CHANGES_AT_ONCE],
          'security feed',
        )
        const [known, ...changes] = rows
        if (known === undefined || known.number !== position.number || known.mark !== position.mark) return undefined
        const last = changes.at(-1) ?? known
        const names = new Set(changes.filter(({ kind }) => kind === 'charge_point').map(({ name }) => name))
        return {
          position: { number: last.number, mark: last.mark },
          isAll: rows.length < CHANGES_AT_ONCE,
          names,
          // As they are now, which may be later than the change: then that one is told of again.
          chargePoints: names.size === 0 ? [] : await readVisitors(session, names),
          admins: changes.some(({ kind }) => kind === 'admin') ? await readAdmins(session) : undefined,
        }
      }),
  }
}

async function readVisitors(session: Session, names: ReadonlySet<string>): Promise<Visitor[]> {
  return (await session.query<Visitor>(`${VISITOR} WHERE cp_id = ANY($1)`, [[...names]], 'security visitors')).rows
}

async function readAdmins(session: Session): Promise<AdminRecord[]> {
  return (await session.query<AdminRecord>(ADMINS)).rows
}
