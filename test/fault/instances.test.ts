/** Two instances while their PostgreSQL fails, and they do. At length: `npm run torture -- instances`. */
import test from 'node:test'
import { ownPostgresServer, startPostgres } from '../harness/postgres.ts'
import { runPostgresFaults } from '../torture/postgres-faults.ts'

const server = ownPostgresServer()
const skip = server.canStop ? false : 'the server is not ours to stop'

test('instances: logins go on while the server restarts and crashes, its sessions end and instances are killed; nothing is lost or doubled', {
  skip,
}, async t => {
  const seen = await runPostgresFaults(server, { restarts: 2, terminations: 20, kills: 2 })
  t.diagnostic(JSON.stringify(seen))
})

test('instances: a synchronous standby that is promoted when the server crashes for good has everything that was answered', {
  skip,
}, async t => {
  const primary = startPostgres()
  t.after(() => primary.stop())
  const failOverTo = await primary.addStandby()
  const seen = await runPostgresFaults(primary, { restarts: 0, terminations: 0, kills: 0, failOverTo })
  t.diagnostic(JSON.stringify(seen))
})
