/** Writes a trail, or erases somebody from it, in a process of its own, to be killed. */
import { pino } from 'pino'
import { system } from '../../src/audit/events.ts'
import { createContext, runInContext } from '../../src/context/context.ts'
import { createSqliteSecurityState } from '../../src/security/sqlite-security-state.ts'
import { dataFolder, lockDataFolder } from '../../src/service/data-folder.ts'
import { eraseOffline } from '../../src/service/erase-offline.ts'
import { openPipeline } from '../../src/service/pipeline.ts'
import { readSettings } from '../../src/settings/settings.ts'
import { ADDRESS, EVENTS, NAME } from './erasure-subject.ts'

const [what, dataDir = ''] = process.argv.slice(2)
const logger = pino({ level: 'silent' })

if (what === 'write') await write()
else {
  console.log('erasing')
  const request = { subject: { kind: 'who', name: NAME } as const, reason: 'request 118', actor: 'test' }
  const { erased } = await eraseOffline(readSettings({ EVC_DATA_DIR: dataDir }), logger, request)
  console.log(`erased ${erased}`)
}

/** Ends by a kill, so that the journal keeps its records, the write-ahead log its rows and the outbox its event. */
async function write(): Promise<void> {
  const folder = dataFolder(dataDir)
  lockDataFolder(folder)
  const windows = { bruteForceThreshold: 5, bruteForceWindowSeconds: 600 }
  const { audit, caughtUp } = await openPipeline({ folder, logger, ackTimeoutMs: 60_000, ...windows })
  for (let n = 0; n < EVENTS; n++) {
    const isSubject = n % 10 === 3
    const context = createContext({ ip: isSubject ? ADDRESS : `10.0.0.${n % 200}` })
    runInContext(context, () => {
      if (n % 20 === 13) audit.access('aldo', context, 'READ', { metadata: { who: NAME } })
      else if (isSubject) audit.authSuccess(NAME, context)
      else audit.authSuccess(`CP-${n % 50}`, context)
    })
    if (n % 100 === 99) await audit.settled(context)
  }
  await caughtUp(60_000)
  const state = createSqliteSecurityState({ path: folder.securityDatabase })
  const waiting = system('CP_DELETED', createContext(), { description: `Charge point ${NAME} deleted` })
  await state.change(transaction => transaction.addToOutbox('019b1f6e-7a55-7cc0-8d0f-6f2f6f0c1a11', waiting))
  process.kill(process.pid, 'SIGKILL')
}
