/**
 * Erasure in a data folder whose journal, indexer and security state are open: what erase.ts does to the databases, and what has to
 * be a row before it and leave the journal after it.
 *
 *   1. hand over the outbox, index the journal          so that everything answered until now is a row
 *   2. erase (erase.ts, steps 1 to 3)                   crash after it: erased, on record, remains in files
 *   3. go on in a new journal segment, index the old    crash: the same
 *   4. overwrite the remains (erase.ts, step 4)         crash: fewer remains; rows are durable in the database
 *   5. delete the old segments                          crash before: the next start's indexer deletes them
 */

import { existsSync } from 'node:fs'
import type { Logger } from 'pino'
import { readRetention } from '../archive/sqlite-trail.ts'
import type { ErasurePaths } from '../erasure/erase.ts'
import { createErasureSteps } from '../erasure/erasure-host.ts'
import type { Erased, ErasureRequest } from '../erasure/request.ts'
import { Refusal } from '../errors.ts'
import { areRewritesDue } from '../store/rewrite.ts'
import type { Subject } from '../store/subject.ts'
import { archiveFolder, type DataFolder } from './data-folder.ts'
import type { Pipeline } from './pipeline.ts'

export interface Erasures {
  /**
   * Resolves when nothing in the data folder shows the subject any more; of a shared trail, nothing in its tables and in the
   * journals of instances that run.
   * @throws {Refusal} as `erase` of erase.ts, and STATE_UNAVAILABLE: nothing was changed; ERASURE_UNFINISHED: erased, but remains
   * are still in files
   */
  erase(request: ErasureRequest): Promise<Erased>
  /** Overwrites what an erasure that was cut short left. Never rejects. */
  finishEarlier(): Promise<void>
}

const INDEX_MS_MAX = 60_000

export function erasurePaths(folder: DataFolder): ErasurePaths {
  const { auditDatabase, securityDatabase, journalDirectory } = folder
  return { auditDatabase, securityDatabase, journalDirectory, archives: archiveFolder(folder) }
}

/** @param settleState hands over the events of changes, and forgets them once they are durable; false when it cannot now */
export function createErasures(deps: {
  folder: DataFolder
  pipeline: Pick<Pipeline, 'caughtUp' | 'dropIndexed'>
  settleState: () => Promise<boolean>
  logger: Pick<Logger, 'info' | 'warn'>
}): Erasures & AsyncDisposable {
  const { folder, pipeline, settleState, logger } = deps
  const paths = erasurePaths(folder)
  const steps = createErasureSteps(paths)

  async function clean(subject: Subject | undefined): Promise<void> {
    if (!(await pipeline.dropIndexed(INDEX_MS_MAX, () => steps.clean(subject)))) {
      throw new Refusal('ERASURE_UNFINISHED', undefined, { retryAfterSeconds: 60 })
    }
  }

  return {
    async erase(request) {
      if (!(await settleState())) throw new Refusal('STATE_UNAVAILABLE')
      if (!(await pipeline.caughtUp(INDEX_MS_MAX))) throw new Refusal('STORE_UNAVAILABLE')
      const erased = await steps.erase(request)
      await clean(request.subject)
      return erased
    },
    async finishEarlier() {
      try {
        if (!existsSync(folder.auditDatabase) || !readRetention(folder.auditDatabase, areRewritesDue)) return
        await clean(undefined)
        logger.info('an erasure that was cut short is finished')
      } catch (error) {
        logger.warn({ code: (error as { code?: string }).code }, 'an erasure is not finished: ask for it again')
      }
    },
    [Symbol.asyncDispose]: () => steps[Symbol.asyncDispose](),
  }
}
