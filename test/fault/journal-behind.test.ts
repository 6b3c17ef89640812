/** An old copy of the journal beside a newer database is noticed at the start, and the way out that is named works. */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { pino } from 'pino'
import { createContext } from '../../src/context/context.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { openPipeline, type Pipeline } from '../../src/service/pipeline.ts'
import { auditRows } from '../harness/rows.ts'

test('service: a restored old journal is refused, and a start without it loses and doubles nothing', async t => {
  const path = mkdtempSync(join(tmpdir(), 'evc-behind-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  const folder = dataFolder(path)
  const open = () =>
    openPipeline({
      folder,
      logger: pino({ level: 'silent' }),
      ackTimeoutMs: 1_000,
      bruteForceThreshold: 5,
      bruteForceWindowSeconds: 600,
    })
  const record = async (pipeline: Pipeline, who: string) => {
    const context = createContext()
    pipeline.audit.authSuccess(who, context)
    await pipeline.audit.settled(context)
    await pipeline.close()
  }
  await record(await open(), 'CP-1')
  cpSync(folder.journalDirectory, `${folder.journalDirectory}.old`, { recursive: true })
  await record(await open(), 'CP-2')

  rmSync(folder.journalDirectory, { recursive: true })
  renameSync(`${folder.journalDirectory}.old`, folder.journalDirectory)
  await assert.rejects(open(), { name: 'Refusal', code: 'JOURNAL_BEHIND' })

  renameSync(folder.journalDirectory, `${folder.journalDirectory}.away`)
  await record(await open(), 'CP-3')
  assert.deepEqual(
    auditRows(path).map(row => [row.id, row.who]),
    [
      [1, 'CP-1'],
      [2, 'CP-2'],
      [3, 'CP-3'],
    ],
  )
})
