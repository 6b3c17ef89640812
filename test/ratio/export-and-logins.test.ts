/** A ratio inside one run: the median of several rounds, as a neighbour on the machine may disturb any one of them. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { loginsDuringExports } from '../../bench/export.ts'
import { median } from '../../bench/table.ts'

test('export: while 100,000 events are exported, the p99 of logins is at most twice that without', async t => {
  const rounds = await loginsDuringExports(9)
  for (const round of rounds) assert.ok(round.exported >= 100_000, `${round.exported} events exported`)
  const ratios = rounds.map(round => round.busyMs / round.quietMs)
  t.diagnostic(`ratios ${ratios.map(ratio => ratio.toFixed(2)).join(', ')}`)
  assert.ok(median(ratios) <= 2, `ratios ${ratios.join(', ')}`)
})
