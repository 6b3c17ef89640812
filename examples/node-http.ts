/**
 * The audit trail in a plain node:http server. Run it: node examples/node-http.ts
 *
 * Imports: in a project of your own, `../src/embed/index.ts` is 'ev-central' and `../src/embed/node-http.ts` is
 * 'ev-central/node-http'.
 */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { createAudit } from '../src/embed/index.ts'
import { withAudit } from '../src/embed/node-http.ts'

const dataDir = await mkdtemp(join(tmpdir(), 'ev-central-'))
const audit = await createAudit({ dataDir })

const server = createServer(
  withAudit({ audit }, async (request, response) => {
    if (request.url === '/broken') throw new TypeError('the meter does not answer')
    const { cp_id, credentials } = await readLogin(request)
    if (cp_id === 'CP-001' && credentials === 'the right one') {
      audit.authSuccess(cp_id)
      response.end('welcome')
    } else {
      audit.authFail(cp_id, undefined, audit.REASON.INVALID_CREDENTIALS)
      audit.detectAndReportBruteForce(cp_id)
      response.writeHead(401).end()
    }
  }),
)

/** An error with a 4xx `statusCode` is the client's fault; `violations` say what is wrong, never the value. */
async function readLogin(request: IncomingMessage): Promise<Login> {
  try {
    return (await json(request)) as Login
  } catch {
    const violations = [{ field: 'body', rule: 'json' }]
    throw Object.assign(new Error('The body is not JSON'), { statusCode: 422, violations })
  }
}

server.listen(0, '127.0.0.1')
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

interface Login {
  cp_id: string
  credentials: string
}

async function login(body: object | string): Promise<void> {
  await fetch(`${url}/login`, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) })
}
