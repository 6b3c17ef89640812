/**
 * The service is killed with SIGKILL at random instants under load, again and again on one data folder. Afterwards
 * every login that was answered is one row: none lost, none doubled. `npm run torture -- kill` does it 1,000 times.
 */
import test from 'node:test'
import { killUnderLoad } from '../torture/kill-under-load.ts'

const CYCLES = Number(process.env.KILL_CYCLES ?? 4)

test(`service: ${CYCLES} times killed under load, no answered event is lost and none is doubled`, async t => {
  const { answered } = await killUnderLoad({ cycles: CYCLES, checkEvery: 2 })
  t.diagnostic(`${answered} answered logins over ${CYCLES} kills`)
})
