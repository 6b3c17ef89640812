/**
 * The audit trail in a Fastify application. Run it: node examples/fastify.ts
 *
 * Imports: in a project of your own, `../src/embed/index.ts` is 'ev-central' and `../src/embed/fastify.ts` is
 * 'ev-central/fastify'.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fastify from 'fastify'
import { auditFastify } from '../src/embed/fastify.ts'
import { createAudit } from '../src/embed/index.ts'

const dataDir = await mkdtemp(join(tmpdir(), 'ev-central-'))
const audit = await createAudit({ dataDir })

const app = fastify()
app.register(auditFastify, { audit })
app.addHook('onClose', () => audit.close())

app.post<{ Body: Login }>('/login', { schema: { body: loginSchema() } }, async (request, reply) => {
  const { cp_id, credentials } = request.body
  if (isRight(cp_id, credentials)) {
    audit.authSuccess(cp_id)
    return { success: true }
  }
  audit.authFail(cp_id, undefined, audit.REASON.INVALID_CREDENTIALS)
  audit.detectAndReportBruteForce(cp_id)
  return reply.code(401).send({ success: false })
})

app.get('/broken', () => {
  throw new TypeError('the meter does not answer')
})

const url = await app.listen({ host: '127.0.0.1', port: 0 })
await login({ cp_id: 'CP-001', credentials: 'the right one' })
await login({ cp_id: 'CP-001', credentials: 'a wrong one' })
await login({ credentials: 'the right one' })
await login('{ this is not JSON')
await fetch(`${url}/broken`)

await audit.flush()
const events = await audit.queryEvents({ start_time: '2025-12-14T00:00:00Z', order: 'asc', limit: 100 })
for (const event of events) {
  console.log(event.action, event.http_method, event.endpoint, event.status_code, event.description)
}

await app.close()
await rm(dataDir, { recursive: true })

interface Login {
  cp_id: string
  credentials: string
}

function loginSchema() {
  const text = { type: 'string', maxLength: 256 }
  return { type: 'object', required: ['cp_id', 'credentials'], properties: { cp_id: text, credentials: text } }
}

/** Stands for your own check. */
function isRight(cpId: string, credentials: string): boolean {
  return cpId === 'CP-001' && credentials === 'the right one'
}

async function login(body: Partial<Login> | string): Promise<void> {
  await fetch(`${url}/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
}
