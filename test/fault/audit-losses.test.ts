/** Events that not even the queue could take: readiness and a metric say so at once, and one event declares them. */
import assert from 'node:assert/strict'
import { statfsSync } from 'node:fs'
import test from 'node:test'
import { pino } from 'pino'
import { createContext } from '../../src/context/context.ts'
import { dataFolder } from '../../src/service/data-folder.ts'
import { openEmbeddedBackend } from '../../src/service/embedded-backend.ts'
import { createHealth } from '../../src/service/health.ts'
import { startLog } from '../../src/service/log.ts'
import { openPipeline } from '../../src/service/pipeline.ts'
import { readSettings } from '../../src/settings/settings.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { dataFolderOnSmallDisk } from './small-disk.ts'

const LONG = Object.fromEntries(Array.from({ length: 15 }, (_, i) => [`note_${i}`, 'x'.repeat(490)]))

for (const ending of ['space returns', 'the process ends first'] as const) {
  test(`audit: the queue overflows on a full disk, ${ending}: each event is a row or declared lost`, async t => {
    const disk = dataFolderOnSmallDisk(t, '.', '160m')
    if (disk === undefined) return
    const folder = dataFolder(disk.dataDir)
    const open = () =>
      openPipeline({
        folder,
        logger: pino({ level: 'silent' }),
        ackTimeoutMs: 100,
        bruteForceThreshold: 5,
        bruteForceWindowSeconds: 600,
      })
    const pipeline = await open()
    t.after(() => pipeline.close())
    const { audit } = pipeline
    const [settings, logger] = [readSettings({}), pino({ level: 'silent' })]
    const parts = openEmbeddedBackend({ settings, folder, logger }).openLog({
      pipeline,
      keyEncryptionKey: Buffer.alloc(32),
    })
    const log = startLog({ parts, pipeline, settings, logger })
    t.after(() => log.close())
    const health = createHealth({ pipeline, audit, folder, state: { lastWriteError: () => null }, log })
    const losses = async () => (await health.ready()).checks.find(({ name }) => name === 'losses')
    const metric = async () => Number(/^evc_audit_lost_total (\d+)$/m.exec(await health.registry.metrics())?.[1])
    const record = (count: number) => {
      for (let i = 0; i < count; i++) audit.access('ann', createContext(), 'READ', { metadata: LONG })
    }
    record(10)
    assert.equal(await pipeline.caughtUp(10_000), true)
    assert.deepEqual([(await losses())?.ok, await metric()], [true, 0])

    disk.fill()
    record(5_000) // 8 KiB each: more than the queue of 32 MiB
    const { lost } = audit.status()
    assert.ok(lost > 500 && lost < 1_500, `${lost} were lost`)
    assert.deepEqual([(await losses())?.ok, (await health.ready()).ready, await metric()], [false, false, lost])

    if (ending === 'space returns') {
      disk.empty()
      await eventually(
        () => audit.status().undeclaredLosses,
        undeclared => undeclared === 0,
        5_000,
      )
      assert.equal((await losses())?.ok, true)
      await eventually(
        () => auditRows(disk.dataDir, "reason_code = 'LOSS_DECLARED'"),
        rows => rows.length === 1,
        5_000,
      )
    } else {
      await pipeline.close()
      disk.empty()
      const next = await open()
      t.after(() => next.close())
      next.audit.system('STARTED')
      assert.equal(await next.caughtUp(10_000), true)
    }
    const declared = auditRows(disk.dataDir, "reason_code = 'LOSS_DECLARED'").map(row =>
      JSON.parse(row.metadata_json ?? ''),
    )
    const accesses = auditRows(disk.dataDir, "action = 'ACCESS'").length
    assert.equal(accesses + declared.reduce((sum, { count }) => sum + count, 0), 5_010)
    const unnumbered = declared.find(({ since }) => since !== undefined)
    assert.equal(unnumbered.count, lost)
    assert.ok(unnumbered.since <= unnumbered.until)
    if (ending === 'space returns') assert.equal(accesses, 5_010 - lost, 'the queue itself lost nothing')
    assert.ok(statfsSync(disk.dataDir).bavail > 0)
  })
}
