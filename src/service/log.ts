/** The log of a data folder, signed while the service runs: what happens to it is put on record. */
import type { Logger } from 'pino'
import { type Checkpoints, startCheckpoints } from '../checkpoint/checkpoint-host.ts'
import { createContext } from '../context/context.ts'
import type { Settings } from '../settings/settings.ts'
import type { DataFolder } from './data-folder.ts'
import type { Pipeline } from './pipeline.ts'

export function startLog(deps: {
  pipeline: Pipeline
  folder: DataFolder
  settings: Settings
  logger: Logger
}): Checkpoints {
  const { pipeline, folder, settings, logger } = deps
  const { audit } = pipeline
  const checkpoints = startCheckpoints({
    storePath: folder.auditDatabase,
    folders: { keys: folder.logKeys, log: folder.log },
    origin: settings.logOrigin,
    onRefused(cause, detail) {
      logger.fatal({ cause }, 'no checkpoint of the log is signed any more')
      const description = `No checkpoint is signed: ${detail}`
      audit.system('CHECKPOINT_REFUSED', createContext(), { description, metadata: { cause } })
    },
    async onHandOver(note) {
      const context = createContext()
      const description = 'Another key signs the checkpoints of the log from now on'
      audit.system('LOG_KEY_ROTATED', context, { description, metadata: { note: note.split('\n') } })
      await audit.settled(context)
    },
  })
  checkpoints.indexed(pipeline.lastEventId())
  pipeline.onIndexed(checkpoints.indexed)
  return checkpoints
}
