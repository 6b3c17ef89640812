/** The door over PostgreSQL: the same tests, where they look at nothing but answers. */
import { after } from 'node:test'

process.env.EVC_TEST_STORE = 'postgres'

await import('./login.test.ts')
await import('./session.test.ts')
await import('./console.test.ts')
await import('./operators.test.ts')
await import('./trail.test.ts')
await import('./evidence-pack.test.ts')
await import('./evidence.test.ts')

// Behind the hooks of these files, which close their services.
const { stopPostgres } = await import('./harness.ts')
after(stopPostgres)
