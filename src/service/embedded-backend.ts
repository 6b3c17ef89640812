/** A service alone on its data folder: events, security state and log are files in it, in SQLite. */

import type { Logger } from 'pino'
import { handOverDetails } from '../checkpoint/signing-keys.ts'
import { createThreadSigner } from '../checkpoint/thread-signer.ts'
import { createContext } from '../context/context.ts'
import { createSqliteSecurityState } from '../security/sqlite-security-state.ts'
import type { Settings } from '../settings/settings.ts'
import type { Backend } from './backend.ts'
import { type DataFolder, storeOf } from './data-folder.ts'
import { createErasures } from './erasure.ts'
import { openPositionGuard } from './position-guard.ts'
import { keyFolders } from './rotate-key.ts'
import { readSecrets } from './secrets.ts'
import { readWitnessed } from './stored-checkpoint.ts'

/** @throws {Refusal} ROLLED_BACK. @throws {SettingsError} as `openPositionGuard` */
export function openEmbeddedBackend(deps: { settings: Settings; folder: DataFolder; logger: Logger }): Backend {
  const { settings, folder, logger } = deps
  const guard = openPositionGuard({ folder, file: settings.positionFile, logger })
  const folders = keyFolders(folder)
  return {
    store: storeOf(folder),
    trail: folder.path,
    keyFolders: folders,
    detector: undefined,
    async openState() {
      const secrets = readSecrets(settings, folder)
      const state = createSqliteSecurityState({ path: folder.securityDatabase })
      return { state, secrets, [Symbol.asyncDispose]: () => state.close() }
    },
    follow: guard.follow,
    sharing: () => ({}),
    followFailures: () => undefined,
    openErasures: ({ pipeline, settleState }) => createErasures({ folder, pipeline, settleState, logger }),
    openLog({ pipeline: { audit } }) {
      const signer = createThreadSigner({
        storePath: folder.auditDatabase,
        folders,
        origin: settings.logOrigin,
        withMlDsa44: settings.logMlDsa,
        async onHandOver(note) {
          const context = createContext()
          audit.system('LOG_KEY_ROTATED', context, handOverDetails(note))
          await audit.settled(context)
        },
      })
      return { signer, readWitnessed: () => readWitnessed(folders, settings) }
    },
    [Symbol.asyncDispose]: guard[Symbol.asyncDispose],
  }
}
