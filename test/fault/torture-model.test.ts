/**
 * The short forms of what `npm run torture` does at length: the model over some seeds, and every operation of the journal's
 * disk failing in turn.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { FAULTS, runWithFault } from '../torture/every-operation.ts'
import { runModel } from '../torture/model.ts'

const SEEDS = 150

test(`model: ${SEEDS} seeds of journal, indexer and store with faults between any two steps`, async t => {
  const totals = { records: 0, crashes: 0, faults: 0 }
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { records, crashes, faults } = await runModel(seed)
    totals.records += records
    totals.crashes += crashes
    totals.faults += faults
  }
  assert.ok(totals.crashes > SEEDS && totals.faults > SEEDS && totals.records > SEEDS * 10, JSON.stringify(totals))
  t.diagnostic(JSON.stringify(totals))
})

test('journal, indexer and store: some operations of the disk fail, or are the last of their process', async t => {
  const { length } = await runWithFault(-1, undefined)
  assert.ok(length > 60, `${length} operations`)
  let runs = 0
  for (let at = 0; at < length; at += 2) {
    const kind = FAULTS[runs % FAULTS.length]
    await runWithFault(at, kind)
    runs++
  }
  t.diagnostic(`${runs} runs of ${length} operations each`)
})
