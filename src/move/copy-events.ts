/**
 * Events of a data folder into PostgreSQL, with their leaves as they are: nothing is hashed, salted or stamped anew.
 *
 * A batch is one transaction: rows, salts, tiles, erasures, and the head that says so. So the database holds the beginning of the log
 * at any time, and its head says where to go on. A batch ends a bundle, but for the last one. Events that have left bring their leaves,
 * their erasures and, with the last of an archive, its record: what is in PostgreSQL then is what its own archiving would have left.
 * No batch has events that left and others. Blocks of counts are made of the rows
 * behind the batch that completes them.
 */
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import { SALT_BYTES } from '../evidence/leaf.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import type { Postgres, Session } from '../postgres/postgres.ts'
import { StoreError } from '../store/event-store.ts'
import { countBlock } from '../store/postgres-counter.ts'
import { makePartitions, writeTimes } from '../store/postgres-event-store.ts'
import { lockHead, readHead, writeGrowth } from '../store/postgres-log.ts'
import { noteArchives } from '../store/postgres-retention.ts'
import { COPY_ROWS, formatLines, type PreparedRow, prepareRow } from '../store/postgres-rows.ts'
import type { SourceBatch, SourceLog } from './source.ts'

/** Measured: twice as many do not make it faster. */
const BATCH_ROWS = 64 * TILE_WIDTH

/** @param onCopied told how many events are there. @throws {Refusal} MIGRATION_REFUSED. @throws {PostgresError} */
export async function copyEvents(
  postgres: Postgres,
  source: SourceLog,
  onCopied: (events: number) => void,
): Promise<void> {
  const { size } = source.head
  let copied = (await postgres.use(readHead)).size
  onCopied(copied)
  while (copied < size) {
    const through = Math.min(copied < source.left ? source.left : size, copied + BATCH_ROWS)
    const batch = source.read(copied, through)
    // Crash before the commit: nothing. A commit that nobody answered: the head says whether it happened.
    await postgres.transaction(session => copyBatch(session, copied, batch))
    copied = through
    if (copied > source.left) while (await countBlock(postgres)); // of what has left there are no rows
    onCopied(copied)
  }
}

async function copyBatch(session: Session, before: number, batch: SourceBatch): Promise<void> {
  const { rows, growth, erasures, archives } = batch
  if (growth.salts.length !== rows.length * SALT_BYTES) {
    throw new Refusal(
      'MIGRATION_REFUSED',
      `The data folder is damaged: salts of the events behind ${before} are missing.`,
    )
  }
  const head = await lockHead(session)
  if (head.size !== before) {
    throw new StoreError('FOREIGN', `the log has ${head.size} events instead of ${before}: somebody else writes it`)
  }
  if (rows.length > 0) {
    const through = before + rows.length
    await makePartitions(session, through)
    await session.copy(COPY_ROWS, formatLines(rows.map(prepare), before + 1))
    await writeTimes(session, before, through)
  }
  if (erasures.length > 0) {
    await session.query('INSERT INTO log_erasures SELECT * FROM unnest($1::bigint[], $2::bigint[])', [
      erasures.map(({ id }) => id),
      erasures.map(({ tombstone }) => tombstone),
    ])
  }
  if (archives.length > 0) await noteArchives(session, archives)
  await writeGrowth(session, before, growth)
}

/** A row that PostgreSQL would keep in another spelling would not be the one of its leaf. */
function prepare({ id, created_at, ...event }: StoredEvent): PreparedRow {
  const row = prepareRow({ event, onceKey: null, createdAt: created_at }, created_at)
  if (row.event === event && row.createdAt === created_at) return row
  throw new Refusal(
    'MIGRATION_REFUSED',
    `Event ${id} has a text that PostgreSQL cannot keep as it is (a NUL, or more than 800 characters in an indexed column), so it would not fit its leaf.`,
  )
}
