/**
 * What the three adapters have in common: the request's context, entered so that it holds until the answer is out.
 *
 * Owns, per request, its context and the validation failure that waits to be recorded with the status the client is
 * really given. Knows node:http only; Fastify and Express hand in the node:http objects underneath theirs.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Audit } from '../audit/audit.ts'
import { createAddressResolver, parseTrustedProxies } from '../context/client-address.ts'
import { type RequestContext, runInContext } from '../context/context.ts'
import type { Violation } from '../errors.ts'
import { contextOf } from '../http/context.ts'
import { classifyFailure } from './failures.ts'

/** The part of the audit library the adapters need; what `createAudit` returns has it. */
export type RecordingAudit = Pick<Audit, 'validationError' | 'error' | 'settled'>

export interface ScopeOptions {
  readonly audit: RecordingAudit
  /** Addresses and CIDR blocks whose `X-Forwarded-For` is believed. None by default: the socket's address counts. */
  readonly trustedProxies?: readonly string[] | undefined
}

/** One request on its way through somebody's application. */
export interface RequestScope {
  readonly context: RequestContext
  /** Whether the answer is decided: what fails from now on changes nothing for the client. */
  readonly isAnswered: boolean
  /** Records what went wrong: an ERROR at once, a VALIDATION_ERROR when the answer's status is known. */
  failed(error: unknown, status: number, who: string | undefined): void
  /** To be awaited before the answer goes out with this status: everything recorded for the request is durable then. */
  answering(status: number): ReturnType<Audit['settled']>
}

/** Kept by request, not only in the current context: a library that loses the context cannot lose the record. */
const scopes = new WeakMap<IncomingMessage, RequestScope>()

/**
 * Returns how to begin a request: makes its context and runs `work` in it.
 * @throws {TypeError} when a trusted proxy is neither an address nor a CIDR block.
 */
export function createScopes(options: ScopeOptions) {
  const resolveAddress = createAddressResolver(parseTrustedProxies(options.trustedProxies ?? []))

  return function begin<T>(
    request: IncomingMessage,
    response: ServerResponse,
    url: string,
    work: (scope: RequestScope) => T,
  ): T {
    const context = contextOf(request, url, resolveAddress)
    const scope = createScope(options.audit, context, response)
    scopes.set(request, scope)
    // Listeners of these two (`data`, `end`, `finish`) are called from the connection, which knows no context of ours.
    keepContext(request, context)
    keepContext(response, context)
    return runInContext(context, () => work(scope))
  }
}

export function scopeOf(request: IncomingMessage): RequestScope | undefined {
  return scopes.get(request)
}

function createScope(audit: RecordingAudit, context: RequestContext, response: ServerResponse): RequestScope {
  let waiting: { who: string | undefined; violations: readonly Violation[] } | undefined
  let isAnswered = false

  function recordWaiting(status: number): void {
    if (waiting === undefined) return
    audit.validationError(waiting.who, context, waiting.violations, status)
    waiting = undefined
  }

  return {
    context,
    get isAnswered() {
      return isAnswered
    },
    failed(error, status, who) {
      const failure = classifyFailure(error, status)
      if (failure.kind === 'error') audit.error(who, context, error)
      if (failure.kind !== 'validation') return
      waiting = { who, violations: failure.violations }
      if (isAnswered) recordWaiting(status)
      else response.once('close', () => recordWaiting(status)) // an answer that never came, or not through us
    },
    answering(status) {
      isAnswered = true
      recordWaiting(status)
      return audit.settled(context)
    },
  }
}

/** Asks the application who it is; an application that throws here is told nothing and blames nobody. */
export function askWho<R>(who: ((request: R) => string | undefined) | undefined, request: R): string | undefined {
  try {
    const name: unknown = who?.(request)
    return typeof name === 'string' ? name : undefined
  } catch {
    return undefined
  }
}

function keepContext(emitter: IncomingMessage | ServerResponse, context: RequestContext): void {
  const emit = emitter.emit
  emitter.emit = (...event: unknown[]) => runInContext(context, () => Reflect.apply(emit, emitter, event))
}
