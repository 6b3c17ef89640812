/**
 * The usage example of the original audit system's documentation, in TypeScript: a login handler that records success
 * and failure and checks for brute force, then two queries. Run it: node examples/login-audit.ts
 *
 * Imports: in a project of your own, `../src/embed/index.ts` is 'ev-central' and `../src/embed/fastify.ts` is
 * 'ev-central/fastify'.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fastify from 'fastify'
import { auditFastify } from '../src/embed/fastify.ts'
import { createAudit, currentContext, openAuditDatabase } from '../src/embed/index.ts'

const dataDir = await mkdtemp(join(tmpdir(), 'ev-central-'))
const audit = await createAudit({ dataDir })
const app = fastify()
app.register(auditFastify, { audit })

// In an endpoint
app.post<{ Body: CpAuthRequest }>('/auth/credentials', async ({ body: req }) => {
  const ctx = currentContext()

  const result = authenticateCp(req.cp_id, req.credentials)

  if (result.success) {
    audit.authSuccess(req.cp_id, ctx)
  } else {
    audit.authFail(req.cp_id, ctx, audit.REASON.INVALID_CREDENTIALS)
    audit.detectAndReportBruteForce(req.cp_id, ctx)
  }

  return result
})

const url = await app.listen({ host: '127.0.0.1', port: 0 })
console.log('right:', await authenticate({ cp_id: 'CP-001', credentials: 'the right one' }))
for (let i = 0; i < 5; i++) {
  console.log('wrong:', await authenticate({ cp_id: 'CP-001', credentials: `guess ${i}` }))
}
await audit.flush()

// Query events
const auditDb = openAuditDatabase(join(dataDir, 'audit', 'audit.db'))

// Get recent failures
const failures = await auditDb.queryEvents({
  action: 'AUTH_FAIL',
  start_time: '2025-12-14T00:00:00Z',
  limit: 100,
})

// Get incidents
const incidents = await auditDb.queryEvents({
  action: 'INCIDENT',
  severity: 'CRITICAL',
})

console.log('failures:', failures.length, failures[0]?.reason_code)
console.log('incidents:', incidents.length, incidents[0]?.reason_code)

auditDb.close()
await app.close()
await audit.close()
await rm(dataDir, { recursive: true })

interface CpAuthRequest {
  cp_id: string
  credentials: string
}

/** Stands for your own check. */
function authenticateCp(cpId: string, credentials: string): { success: boolean } {
  return { success: cpId === 'CP-001' && credentials === 'the right one' }
}

async function authenticate(req: CpAuthRequest): Promise<unknown> {
  const response = await fetch(`${url}/auth/credentials`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(req),
  })
  return response.json()
}
