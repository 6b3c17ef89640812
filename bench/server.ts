/**
 * The server under test, in a process of its own: `node bench/server.ts audited|unaudited DATA_DIR`.
 *
 * Unaudited is the same server over a pipeline whose audit service does nothing; only this file can build that.
 * Talks to its parent over IPC: sends `{url}` when ready, answers `cpu` with the main thread's CPU time so far.
 */
import { pino } from 'pino'
import type { AuditService } from '../src/audit/audit-service.ts'
import { startCentral } from '../src/service/central.ts'
import { openPipeline } from '../src/service/pipeline.ts'
import { readSettings } from '../src/settings/settings.ts'

const [mode, dataDir] = process.argv.slice(2)
if ((mode !== 'audited' && mode !== 'unaudited') || dataDir === undefined)
  throw new Error('usage: server.ts audited|unaudited DATA_DIR')

const settings = readSettings({ EVC_PORT: '0', EVC_DATA_DIR: dataDir, EVC_ADMIN_KEY: process.env.EVC_ADMIN_KEY })
const central = await startCentral(
  settings,
  pino({ level: 'silent' }),
  mode === 'audited' ? openPipeline : openSilentPipeline,
)
process.send?.({ url: central.url })
process.on('message', message => {
  if (message === 'cpu') {
    const { user, system } = process.threadCpuUsage()
    process.send?.({ cpuMicroseconds: user + system })
  }
  if (message === 'stop') central.stop().then(() => process.disconnect?.())
})

async function openSilentPipeline(...args: Parameters<typeof openPipeline>): ReturnType<typeof openPipeline> {
  const pipeline = await openPipeline(...args)
  const nothing = () => {}
  const silent: AuditService = {
    ...pipeline.audit,
    authSuccess: nothing,
    authFail: nothing,
    validationError: nothing,
    access: nothing,
    incident: nothing,
    error: nothing,
    detectBruteForce: () => false,
    detectAndReportBruteForce: () => false,
    settled: async () => 'durable',
  }
  return { ...pipeline, audit: silent }
}
