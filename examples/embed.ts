/**
 * The audit trail on its own, without a web framework. Run it in an empty folder: node <here>/examples/embed.ts
 *
 * Imports: in a project of your own, `../src/embed/index.ts` is 'ev-central'.
 */
import { createAudit, createContext } from '../src/embed/index.ts'

const audit = await createAudit({ dataDir: './audit-data' })

const ctx = createContext({ ip: '203.0.113.7', endpoint: '/login', httpMethod: 'POST' })
audit.authSuccess('CP-001', ctx)
audit.authFail('CP-002', ctx, audit.REASON.INVALID_CREDENTIALS)
audit.detectAndReportBruteForce('CP-002', ctx)
await audit.settled(ctx) // on disk: answer the caller now

await audit.flush() // indexed: queries see it
const failures = await audit.queryEvents({ action: 'AUTH_FAIL', start_time: '2025-12-14T00:00:00Z', limit: 100 })
for (const { id, who, ip, reason_code } of failures) console.log(id, who, ip, reason_code)

await audit.close()
