/** Signed logs in which one thing is changed, and some in which nothing is; at length by `npm run torture -- log`. */
import test, { after } from 'node:test'
import { MUTATIONS, removeGrounds, runLogMutation, runPristineLog } from '../torture/log-mutations.ts'

after(removeGrounds)

for (const name of Object.keys(MUTATIONS)) {
  test(`signed log, ${name}: found, called what it is, and located`, () => runLogMutation(name, 1))
}

test('signed logs that nobody changed: no finding', async () => {
  for (let seed = 1; seed <= 8; seed++) await runPristineLog(seed)
})
