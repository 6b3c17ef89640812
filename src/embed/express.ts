/**
 * Express middleware: the request context and `X-Request-ID` at the top, the exception handler at the bottom.
 *
 *   app.use(auditExpress({ audit }))          before everything else, the body parser included
 *   ... body parser, routes ...
 *   app.use(auditExpressErrors())             after the routes, before the application's own error handler
 *
 * Promise: the error goes on to the next error handler, and its answer stays what it is, unless `problems` asks for
 * RFC 9457. The types are node:http's, which Express' own extend: no types of Express are needed.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { PROBLEM_TYPE } from '../http/problem.ts'
import { problemFor, statusOf } from './failures.ts'
import { holdAnswer } from './held-answer.ts'
import { askWho, createScopes, type ScopeOptions, scopeOf } from './request-scope.ts'

/** An Express request, as far as it is looked at. Behind a mounted router `url` is cut; `originalUrl` never is. */
export interface ExpressRequest extends IncomingMessage {
  readonly originalUrl?: string
}

export type AuditExpressOptions = ScopeOptions

export function auditExpress(
  options: AuditExpressOptions,
): (request: ExpressRequest, response: ServerResponse, next: (error?: unknown) => void) => void {
  const begin = createScopes(options)
  return (request, response, next) => {
    begin(request, response, request.originalUrl ?? request.url ?? '/', scope => {
      response.setHeader('X-Request-ID', scope.context.requestId)
      holdAnswer(response, () => scope.answering(response.statusCode))
      next()
    })
  }
}

export interface AuditExpressErrorsOptions<Request extends ExpressRequest = ExpressRequest> {
  /** Names the caller of a request that failed (a cp_id, a user), if the application knows. */
  readonly who?: ((request: Request) => string | undefined) | undefined
  /** Answer every error as `application/problem+json`, with no more in it than the client may know. Off by default. */
  readonly problems?: boolean | undefined
}

/** Records a request's failure. Four parameters, since that is how Express knows an error handler. */
export function auditExpressErrors<Request extends ExpressRequest = ExpressRequest>(
  options: AuditExpressErrorsOptions<Request> = {},
): (error: unknown, request: Request, response: ServerResponse, next: (error?: unknown) => void) => void {
  return (error, request, response, next) => {
    const status = statusOf(error)
    const scope = scopeOf(request)
    scope?.failed(error, status, askWho(options.who, request))
    if (scope?.isAnswered) {
      // Express would now close the connection, under an answer that is complete and only waiting to go out.
      response.once('close', () => next(error))
      return
    }
    if (options.problems !== true || response.headersSent) return next(error)
    const problem = problemFor(error, status, scope?.context)
    response.statusCode = problem.status
    response.setHeader('Content-Type', PROBLEM_TYPE)
    response.end(JSON.stringify(problem))
  }
}
