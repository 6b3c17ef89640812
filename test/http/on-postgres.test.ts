/**
 * The door over PostgreSQL, as a role with the rights of an instance: the same tests, where they look at nothing but answers that its
 * rows, counts and log go into.
 *
 * Left out are those of sessions and of the operators' routes: what they look at is decided by the security stage, whose state on
 * either store keeps one promise (test/contract/security-state.ts); what another process changed there is in instances.test.ts.
 */
import { after } from 'node:test'

process.env.EVC_TEST_STORE = 'postgres'

await import('./login.test.ts')
await import('./console.test.ts')
await import('./trail.test.ts')
await import('./evidence-pack.test.ts')
await import('./evidence.test.ts')

// Behind the hooks of these files, which close their services.
const { stopPostgres } = await import('./harness.ts')
after(stopPostgres)
