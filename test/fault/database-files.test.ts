/**
 * The event database's files truncated, flipped, deleted, replaced by an older copy: afterwards the rows are right, or it is
 * said that they are not. The table of what must come of what is in test/torture/database-damage.ts; more seeds with
 * `npm run torture -- database`.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { DAMAGES, runDatabaseDamage } from '../torture/database-damage.ts'

const SEEDS: Record<string, number> = { 'database flipped': 8, 'database cut': 3, '-wal cut': 3, '-wal flipped': 3 }

for (const damage of DAMAGES) {
  test(`event database: ${damage}: right afterwards, or reported`, async t => {
    const outcomes: string[] = []
    for (let seed = 1; seed <= (SEEDS[damage] ?? 1); seed++) outcomes.push(await runDatabaseDamage(damage, seed))
    assert.ok(outcomes.length > 0)
    t.diagnostic(outcomes.join(', '))
  })
}
