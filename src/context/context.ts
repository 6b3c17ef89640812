/**
 * Request context: who is asking, from where, for what, under which request id.
 *
 * Promise: every door runs its work inside `runInContext`, so `currentContext()` answers anywhere below without
 * being passed along, also after an await and also while a failure is handled. A context is frozen; it is never
 * changed, only replaced. Owns no other state. Must not know a protocol: a door hands in bounded values.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { randomUUIDv7 } from 'node:crypto'

export interface RequestContext {
  /** Matches `^[A-Za-z0-9._:-]{1,128}$`. */
  readonly requestId: string
  /** Client address in its canonical spelling, or `-` for work that has none. */
  readonly ip: string
  /** Path without query, or null for work that came through no endpoint. */
  readonly endpoint: string | null
  readonly httpMethod: string | null
}

const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/
/** A token or an admin key, sent in the wrong header. An id stands in the open, in the trail, the log and the answer. */
const SECRET = /eyJ[A-Za-z0-9_-]{5,}\.|evca_/

const storage = new AsyncLocalStorage<RequestContext>()

/** A context for work that did not come in as a request (a job, a command, a test); every field has a default. */
export function createContext(fields: Partial<RequestContext> = {}): RequestContext {
  return Object.freeze({
    requestId: fields.requestId ?? newRequestId(),
    ip: fields.ip ?? '-',
    endpoint: fields.endpoint ?? null,
    httpMethod: fields.httpMethod ?? null,
  })
}

/** Runs `work` so that everything it calls, now or later, sees `context`. Returns what `work` returns. */
export function runInContext<T>(context: RequestContext, work: () => T): T {
  return storage.run(context, work)
}

/** The context of the work that is going on, or undefined outside of any. */
export function currentContext(): RequestContext | undefined {
  return storage.getStore()
}

/** The id a client sent, if it is one and not of the shape of a secret; else a new UUIDv7 (RFC 9562). */
export function acceptRequestId(sent: unknown): string {
  return typeof sent === 'string' && REQUEST_ID.test(sent) && !SECRET.test(sent) ? sent : newRequestId()
}

function newRequestId(): string {
  return randomUUIDv7()
}
