/**
 * Fastify plugin: the request context, `X-Request-ID`, and audit events for what goes wrong, in someone else's app.
 *
 * Promise: it watches and records; the application's error handlers and their answers stay what they are, unless
 * `problems` asks for RFC 9457. Register it before the routes and plugins it should see.
 */
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { PROBLEM_TYPE } from '../http/problem.ts'
import { problemFor, statusOf } from './failures.ts'
import { askWho, createScopes, type ScopeOptions, scopeOf } from './request-scope.ts'

export interface AuditFastifyOptions extends ScopeOptions {
  /** Names the caller of a request that failed (a cp_id, a user), if the application knows. */
  readonly who?: ((request: FastifyRequest) => string | undefined) | undefined
  /** Answer every error as `application/problem+json`, with no more in it than the client may know. Off by default. */
  readonly problems?: boolean | undefined
}

const plugin: FastifyPluginAsync<AuditFastifyOptions> = async (app, options) => {
  watch(app, options)
  if (options.problems === true) app.setErrorHandler(answerProblem)
}

/** For `app.register(auditFastify, { audit })`. */
export const auditFastify: FastifyPluginAsync<AuditFastifyOptions> = Object.assign(plugin, {
  // What the fastify-plugin package does: the hooks are for the whole application, not for a scope of their own.
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'ev-central-audit',
  [Symbol.for('plugin-meta')]: { name: 'ev-central-audit', fastify: '5.x' },
})

function watch(app: FastifyInstance, options: AuditFastifyOptions): void {
  const begin = createScopes(options)

  app.addHook('onRequest', (request, reply, done) => {
    begin(request.raw, reply.raw, request.url, scope => {
      reply.header('x-request-id', scope.context.requestId)
      done()
    })
  })
  // Called for every error (thrown, sent, of a body that does not parse), before the application's error handler.
  app.addHook('onError', (request, reply, error, done) => {
    scopeOf(request.raw)?.failed(error, errorStatus(error, reply), askWho(options.who, request))
    done()
  })
  app.addHook('onSend', async (request, reply) => {
    await scopeOf(request.raw)?.answering(reply.statusCode)
  })
}

/** As Fastify decides it: the error's own status, else one that was set before the error was thrown. */
function errorStatus(error: unknown, reply: FastifyReply): number {
  return statusOf(error, reply.statusCode >= 400 ? reply.statusCode : 500)
}

function answerProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const problem = problemFor(error, errorStatus(error, reply), scopeOf(request.raw)?.context)
  if (problem.status >= 500) request.log.error({ err: error }, 'unhandled error')
  reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem))
}
