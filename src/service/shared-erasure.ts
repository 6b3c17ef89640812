/** Erasure where the trail is in PostgreSQL, as the service and the command line ask for it (erasure/postgres-erase.ts). */
import type { AuditLogger } from '../audit/audit-service.ts'
import { eraseShared, finishShared, planErasureShared } from '../erasure/postgres-erase.ts'
import type { ErasurePlan } from '../erasure/request.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { available } from '../postgres/postgres-error.ts'
import { createPostgresEventStore } from '../store/postgres-event-store.ts'
import type { Subject } from '../store/subject.ts'
import type { Erasures } from './erasure.ts'
import { prepareShared } from './shared-database.ts'

/** The one that is alone, and one that writes. */
const CONNECTIONS = 2
/** A partition is written anew in one statement. */
const STATEMENT_MS_MAX = 600_000

export interface SharedErasures extends Erasures, AsyncDisposable {
  /** As planErasure of erase.ts. */
  plan(subject: Subject): Promise<ErasurePlan>
}

/** Connects when it is asked for something. @param archives folder that archives are written to from here */
export function createSharedErasures(deps: { url: string; archives: string; logger: AuditLogger }): SharedErasures {
  const { url, archives, logger } = deps
  const postgres = createPostgres({
    url,
    connectionsMax: CONNECTIONS,
    statementMsMax: STATEMENT_MS_MAX,
    applicationName: 'ev-central erasure',
  })
  const store = createPostgresEventStore({ url, statementMsMax: STATEMENT_MS_MAX })
  const trail = { postgres, store, archives }

  return {
    async plan(subject) {
      await available(() => prepareShared(postgres)) // the command line may be the first that comes to the database
      return planErasureShared(trail, subject)
    },
    async erase(request) {
      await available(() => prepareShared(postgres))
      return eraseShared(trail, request)
    },
    async finishEarlier() {
      try {
        await prepareShared(postgres)
        if (await finishShared(trail)) logger.info({}, 'an erasure that was cut short is finished')
      } catch (error) {
        const { code } = error as { code?: string }
        if (code === 'ARCHIVE_RUNNING') return // somebody is at it
        logger.warn({ code }, 'an erasure is not finished: ask for it again')
      }
    },
    async [Symbol.asyncDispose]() {
      await store.close()
      await postgres.close()
    },
  }
}
