/** Some system calls of a real process fail, or are its last; all of them in `npm run torture -- system-calls`. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { CALLS, countCalls, EFFECTS, runWithSystemCallFault, whyNoStrace } from '../torture/system-calls.ts'

test('journal, indexer and store: a system call fails, or is the last', { skip: whyNoStrace() ?? false }, async t => {
  const counts = await countCalls()
  let reached = 0
  for (const [index, call] of CALLS.entries()) {
    const count = counts.get(call) ?? 0
    assert.ok(count > 0, `${call} is never called`)
    const number = 1 + ((index * 7 + 3) % count)
    const effect = EFFECTS[index % EFFECTS.length] as (typeof EFFECTS)[number]
    if (await runWithSystemCallFault({ call, number, effect })) reached++
  }
  assert.ok(reached >= CALLS.length - 1, `only ${reached} faults came about`)
  t.diagnostic([...counts].map(([call, count]) => `${call} ${count}`).join(', '))
})
