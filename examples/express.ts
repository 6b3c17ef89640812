/**
 * The audit trail in an Express application. Run it: node examples/express.ts
 *
 * Imports: in a project of your own, `../src/embed/index.ts` is 'ev-central' and `../src/embed/express.ts` is
 * 'ev-central/express'.
 */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import express from 'express'
import { auditExpress, auditExpressErrors } from '../src/embed/express.ts'
import { createAudit } from '../src/embed/index.ts'

const dataDir = await mkdtemp(join(tmpdir(), 'ev-central-'))
const audit = await createAudit({ dataDir })

const app = express()
app.use(auditExpress({ audit }))
app.use(express.json())

app.post('/login', (request, response) => {
  const { cp_id, credentials } = request.body
  if (cp_id === 'CP-001' && credentials === 'the right one') {
    audit.authSuccess(cp_id)
    response.json({ success: true })
  } else {
    audit.authFail(cp_id, undefined, audit.REASON.INVALID_CREDENTIALS)
    audit.detectAndReportBruteForce(cp_id)
    response.status(401).json({ success: false })
  }
})

app.get('/broken', () => {
  throw new TypeError('the meter does not answer')
})

app.use(auditExpressErrors({ problems: true }))

const server = app.listen(0, '127.0.0.1')
await once(server, 'listening')
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
await login({ cp_id: 'CP-001', credentials: 'the right one' })
await login({ cp_id: 'CP-001', credentials: 'a wrong one' })
await login('{ this is not JSON')
await fetch(`${url}/broken`)

await audit.flush()
const events = await audit.queryEvents({ order: 'asc' })
for (const event of events) {
  console.log(event.action, event.http_method, event.endpoint, event.status_code, event.description)
}

server.close()
server.closeAllConnections()
await audit.close()
await rm(dataDir, { recursive: true })

async function login(body: object | string): Promise<void> {
  await fetch(`${url}/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
}
