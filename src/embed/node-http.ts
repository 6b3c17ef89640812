/**
 * Plain node:http: wraps a request listener with the request context, `X-Request-ID` and the exception handler.
 *
 *   http.createServer(withAudit({ audit }, async (request, response) => { ... }))
 *
 * node:http has no error answer of its own (an exception ends the process, a rejection leaves the client waiting), so a
 * handler that fails without having answered is answered for, as `application/problem+json`.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { PROBLEM_TYPE } from '../http/problem.ts'
import { problemFor, statusOf } from './failures.ts'
import { holdAnswer } from './held-answer.ts'
import { askWho, createScopes, type RequestScope, type ScopeOptions } from './request-scope.ts'

export interface WithAuditOptions extends ScopeOptions {
  /** Names the caller of a request that failed (a cp_id, a user), if the application knows. */
  readonly who?: ((request: IncomingMessage) => string | undefined) | undefined
}

export type NodeHandler = (request: IncomingMessage, response: ServerResponse) => unknown

export function withAudit(
  options: WithAuditOptions,
  handler: NodeHandler,
): (request: IncomingMessage, response: ServerResponse) => void {
  const begin = createScopes(options)
  return (request, response) => {
    begin(request, response, request.url ?? '/', async scope => {
      response.setHeader('X-Request-ID', scope.context.requestId)
      holdAnswer(response, () => scope.answering(response.statusCode))
      try {
        await handler(request, response)
      } catch (error) {
        scope.failed(error, statusOf(error), askWho(options.who, request))
        answerFor(response, error, scope)
      }
    })
  }
}

function answerFor(response: ServerResponse, error: unknown, scope: RequestScope): void {
  if (scope.isAnswered) return
  if (response.headersSent) {
    response.destroy() // half-way through: an answer that will never end must not look like one that did
    return
  }
  const problem = problemFor(error, statusOf(error), scope.context)
  for (const name of response.getHeaderNames()) {
    if (name !== 'x-request-id') response.removeHeader(name)
  }
  response.statusCode = problem.status
  response.setHeader('Content-Type', PROBLEM_TYPE)
  response.end(JSON.stringify(problem))
}
