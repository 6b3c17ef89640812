/**
 * The server under test, in a process of its own: `node bench/server.ts DATA_DIR`.
 *
 * Its audit service can be switched off and on while it runs, which only this file can do: so both sides of the
 * comparison are the same process, warm alike. Talks to its parent over IPC: sends `{url}` when ready; answers `on`,
 * `off` and `cpu` with the CPU time of the main thread and of all threads so far, in microseconds.
 */
import { pino } from 'pino'
import type { AuditService } from '../src/audit/audit-service.ts'
import { startCentral } from '../src/service/central.ts'
import { openPipeline } from '../src/service/pipeline.ts'
import { readSettings } from '../src/settings/settings.ts'

const [dataDir] = process.argv.slice(2)
if (dataDir === undefined) throw new Error('usage: server.ts DATA_DIR')

let isAuditing = true
const settings = readSettings({ EVC_PORT: '0', EVC_DATA_DIR: dataDir, EVC_ADMIN_KEY: process.env.EVC_ADMIN_KEY })
const central = await startCentral(settings, pino({ level: 'silent' }), async options => {
  const pipeline = await openPipeline(options)
  return { ...pipeline, audit: switchable(pipeline.audit) }
})
process.send?.({ url: central.url })
process.on('message', message => {
  if (message === 'stop') {
    central.stop().then(() => process.disconnect?.())
    return
  }
  if (message === 'on' || message === 'off') isAuditing = message === 'on'
  process.send?.({ main: total(process.threadCpuUsage()), all: total(process.cpuUsage()) })
})

/** The calls a login makes; the rest of the service is not under load. */
function switchable(audit: AuditService): AuditService {
  const nothingToWaitFor = Promise.resolve('durable' as const)
  return {
    ...audit,
    authSuccess(...what) {
      if (isAuditing) audit.authSuccess(...what)
    },
    settled: context => (isAuditing ? audit.settled(context) : nothingToWaitFor),
  }
}

function total(spent: NodeJS.CpuUsage): number {
  return spent.user + spent.system
}
