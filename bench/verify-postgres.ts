/**
 * The verifier over a signed log in PostgreSQL, with two workers, on the machine of the server: every row, entry, tile, index entry and
 * signature. The tables have been vacuumed, as autovacuum does while rows are added.
 */
import { verifyPath } from '../src/verify/index.ts'
import { startPostgres } from '../test/harness/postgres.ts'
import { createSignedPostgres } from '../test/harness/signed-postgres.ts'
import { createEventGenerator } from './generator.ts'
import type { Size } from './size.ts'
import { type Figure, median } from './table.ts'

const GENERATED = { seed: 7, chargePoints: 5_000, addresses: 20_000, start: Date.UTC(2026, 0, 1), stepMs: 100 }
const WORKERS = 2
const ROUNDS = 5
const BATCH = 10_000

export async function benchVerifyPostgres({ postgresVerifyEvents: events }: Size): Promise<Figure[]> {
  await using undo = new AsyncDisposableStack()
  const server = startPostgres()
  undo.defer(() => server.stop())
  const log = undo.use(await createSignedPostgres(server, 1))
  const event = createEventGenerator(GENERATED)
  for (let done = 0; done < events; done += BATCH) await log.append(Math.min(BATCH, events - done), { event })
  await log.sign()
  await log.run('VACUUM ANALYZE')
  const rounds: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now()
    const report = await verifyPath(log.url, { key: log.key() }, { workers: WORKERS })
    rounds.push(events / ((performance.now() - started) / 1_000))
    if (report.verdict !== 'PRISTINE') throw new Error(report.sentence)
  }
  console.log(`  rounds: ${rounds.map(rate => Math.round(rate)).join(', ')} events/s`)
  return [{ name: 'PostgreSQL: verify, two workers', value: median(rounds), unit: 'events/s' }]
}
