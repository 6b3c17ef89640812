import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SecurityState } from '../../src/security/security-state.ts'
import { createSqliteSecurityState } from '../../src/security/sqlite-security-state.ts'
import { securityStateContract } from './security-state.ts'

securityStateContract('SQLite security state', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'evc-state-'))
  const opened: SecurityState[] = []
  const open = async () => {
    const state = createSqliteSecurityState({ path: join(folder, 'security.db') })
    opened.push(state)
    return state
  }
  t.after(async () => {
    for (const state of opened) await state.close()
    rmSync(folder, { recursive: true })
  })
  return { state: await open(), reopen: open }
})
