/** Audit trails for tests, gone afterwards: one of its own for a test, or one that the tests of a file share. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext } from 'node:test'
import { type AuditOptions, createAudit, type EmbeddedAudit, type StoredEvent } from '../../src/embed/index.ts'

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'evc-embed-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

export async function temporaryAudit(
  t: TestContext,
  options: Omit<AuditOptions, 'dataDir'> = {},
): Promise<EmbeddedAudit & { readonly dataDir: string }> {
  const dataDir = await mkdtemp(join(tmpdir(), 'evc-embed-'))
  const audit = await createAudit({ dataDir, ...options })
  t.after(async () => {
    await audit.close()
    await rm(dataDir, { recursive: true, force: true })
  })
  return { ...audit, dataDir }
}

/** What a test sees of the shared trail: the events recorded since it began. */
export interface SharedAudit {
  readonly audit: EmbeddedAudit
  stored(): Promise<StoredEvent[]>
}

/** To be called at the top of a test file; the result at the start of each test. */
export function sharedAudit(): () => Promise<SharedAudit> {
  let audit: EmbeddedAudit
  let dataDir: string
  before(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'evc-embed-'))
    // An answer that no longer waits for a slow disk would be right, and is not what is tested.
    audit = await createAudit({ dataDir, ackTimeoutMs: 10_000 })
  })
  after(async () => {
    await audit.close()
    await rm(dataDir, { recursive: true, force: true })
  })
  return async () => {
    await audit.flush()
    const last = (await audit.queryEvents({ limit: 1 }))[0]?.id ?? 0
    return {
      audit,
      async stored() {
        await audit.flush()
        return audit.queryEvents({ order: 'asc', after: last })
      },
    }
  }
}
