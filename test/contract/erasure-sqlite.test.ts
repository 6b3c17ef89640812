import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { liftHold, placeHold } from '../../src/archive/holds.ts'
import { cleanFiles, erase, planErasure } from '../../src/erasure/erase.ts'
import { createSqliteEventQueries } from '../../src/query/sqlite-event-queries.ts'
import { createSqliteSecurityState } from '../../src/security/sqlite-security-state.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { erasurePaths } from '../../src/service/erasure.ts'
import { checkStore } from '../../src/store/check-store.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { temporaryFolder } from '../cli/command-line.ts'
import { filesHolding } from '../harness/byte-scan.ts'
import { auditRows } from '../harness/rows.ts'
import { erasureContract } from './erasure.ts'

const SEGMENT = 2_048
const READERS_MS = 200

erasureContract('erasure on SQLite', {
  segment: SEGMENT,
  async create(t) {
    const data = join(temporaryFolder(t), 'data')
    const { auditDatabase, securityDatabase, ...folder } = dataFolder(data)
    const paths = erasurePaths({ auditDatabase, securityDatabase, ...folder })
    mkdirSync(paths.journalDirectory, { recursive: true })
    const store = createSqliteEventStore({ path: auditDatabase, segmentIds: SEGMENT })
    await store.lastId()
    const state = createSqliteSecurityState({ path: securityDatabase })
    const queries = createSqliteEventQueries({ path: auditDatabase })
    t.after(async () => {
      queries.close()
      await state.close()
      await store.close()
    })
    let written = 0
    const select = (sql: string) => {
      using db = new DatabaseSync(auditDatabase, { readOnly: true })
      return db.prepare(sql).all()
    }
    return {
      queries,
      state,
      async append(events) {
        const rows = events.map(event => ({ event, onceKey: null }))
        await store.append({ source: 'test', after: written, through: written + rows.length, rows })
        written += rows.length
      },
      rows: async () => auditRows(data).map(row => ({ ...row })),
      root: async () => (select('SELECT root FROM log_head')[0] as { root: Uint8Array }).root,
      async erase(request) {
        const erased = await erase(paths, request)
        await cleanFiles(paths, request.subject, READERS_MS)
        return erased
      },
      plan: subject => planErasure(paths, subject),
      placeHold: hold => placeHold(auditDatabase, hold, 'ada'),
      liftHold: id => liftHold(auditDatabase, id, 'ada'),
      holding: async text => filesHolding(data, text),
      erasures: async () =>
        select('SELECT id, tombstone FROM log_erasures ORDER BY id').map(row => ({ ...row })) as never,
      check: async () => assert.deepEqual(checkStore(auditDatabase), []),
      async startReading() {
        const reader = new DatabaseSync(auditDatabase, { readOnly: true })
        reader.exec('BEGIN; SELECT id FROM audit_events LIMIT 1')
        return async () => reader.close()
      },
    }
  },
})
