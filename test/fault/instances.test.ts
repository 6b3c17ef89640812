/** Two instances while their PostgreSQL fails, and they do. At length: `npm run torture -- instances`. */
import test from 'node:test'
import { ownPostgresServer } from '../harness/postgres.ts'
import { runPostgresFaults } from '../torture/postgres-faults.ts'

const server = ownPostgresServer()
const skip = server.canStop ? false : 'the server is not ours to stop'

test('instances: logins go on while the server restarts and crashes, its sessions end, instances are killed and a synchronous standby is promoted; nothing is lost or doubled', {
  skip,
}, async t => {
  const failOverTo = await server.addStandby()
  const seen = await runPostgresFaults(server, { restarts: 2, terminations: 10, kills: 2, failOverTo, pauseMs: 80 })
  t.diagnostic(JSON.stringify(seen))
})
