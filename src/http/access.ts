/** Reading the trail is itself put on record: one ACCESS event per request, with the filter and the answer's status. */
import type { FastifyRequest } from 'fastify'
import type { Audit, Metadata } from '../audit/audit.ts'
import { ERRORS, Refusal } from '../errors.ts'
import { ACCESS, type Access } from '../event/catalogue.ts'
import { actorOf } from './guards.ts'

export interface AccessRecorder {
  /** Runs a read and records it, with the status it is answered with: 200, or that of its failure. */
  read<T>(request: FastifyRequest, what: string, filter: Metadata, work: () => Promise<T>): Promise<T>
  /** The same for an export; recorded when its first piece is there. */
  exported<T>(request: FastifyRequest, what: string, filter: Metadata, work: () => Promise<T>): Promise<T>
}

export function createAccessRecorder(audit: Audit): AccessRecorder {
  async function recorded<T>(
    kind: Access,
    request: FastifyRequest,
    description: string,
    metadata: Metadata,
    work: () => Promise<T>,
  ): Promise<T> {
    const record = (statusCode: number) =>
      audit.access(actorOf(request).name, request.auditContext, kind, { description, statusCode, metadata })
    let result: T
    try {
      result = await work()
    } catch (error) {
      record(error instanceof Refusal ? ERRORS[error.code].status : 500)
      throw error
    }
    record(200)
    return result
  }

  return {
    read: (request, what, filter, work) => recorded(ACCESS.READ, request, `Audit trail read: ${what}`, filter, work),
    exported: (request, what, filter, work) =>
      recorded(ACCESS.EXPORT, request, `Audit trail exported: ${what}`, filter, work),
  }
}
