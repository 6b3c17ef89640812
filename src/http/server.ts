/**
 * The HTTP door: turns a request into a context and a call of `security`, `audit` or `query`, and what comes back into
 * an answer.
 *
 * Promise: whatever arrives, the answer is JSON (or a problem document) with a request id; what is bad about a request
 * is refused before it costs anything, and recorded; an answer leaves after the events of its request are durable (or
 * the acknowledgement time-out has passed). Owns: the counts behind its metrics, and the followers of the stream.
 * Must not decide anything about credentials, roles or state, and must not log or echo what a caller wrote.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyReply,
  type FastifyRequest,
  LogController,
  type RawServerDefault,
} from 'fastify'
import { runInContext } from '../context/context.ts'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { createAdmission } from './admission.ts'
import { createClientErrors } from './client-error.ts'
import { registerConsole } from './console.ts'
import type { App, HttpDeps } from './deps.ts'
import { createErrorHandler } from './error-handler.ts'
import { createEventStreams } from './event-stream.ts'
import { createFollowers } from './followers.ts'
import { createGate } from './gate.ts'
import { createGuards } from './guards.ts'
import { createIncidentBook } from './incident-book.ts'
import { registerJsonBody } from './json-body.ts'
import { createListener } from './listener.ts'
import { createHttpMetrics } from './metrics.ts'
import { registerOpenApi } from './openapi.ts'
import { createOverview } from './overview.ts'
import { createRouteTable } from './route-table.ts'
import { auditRoutes } from './routes/audit.ts'
import { auditExportRoute } from './routes/audit-export.ts'
import { auditStreamRoute } from './routes/audit-stream.ts'
import { authRoutes } from './routes/auth.ts'
import { chargePointRoutes } from './routes/charge-points.ts'
import { erasureRoute } from './routes/erasures.ts'
import { evidenceRoutes } from './routes/evidence.ts'
import { evidencePackRoute } from './routes/evidence-pack.ts'
import { evidenceStatusRoutes } from './routes/evidence-status.ts'
import { incidentRoutes } from './routes/incidents.ts'
import { keyRoutes } from './routes/keys.ts'
import { messageRoutes } from './routes/messages.ts'
import { overviewRoutes } from './routes/overview.ts'
import { serviceRoutes } from './routes/service.ts'
import { sessionRoutes } from './routes/session.ts'
import { statusRoutes } from './routes/status.ts'
import type { SchemaTypes } from './schema.ts'
import { refuseStrayQuery, schemaValidator } from './validation.ts'

/** Ready to listen. `close()` finishes the requests under way; what is not done after a few seconds is cut. */
export async function createHttpServer(deps: HttpDeps): Promise<App> {
  const { audit, resolveAddress } = deps
  const metrics = createHttpMetrics(deps.health.registry)
  const routes = createRouteTable()
  const clientErrors = createClientErrors({ audit, resolveAddress, metrics })
  const gate = createGate({ resolveAddress, metrics, routes, began: clientErrors.began, isTls: deps.tls !== undefined })
  const admitted = createAdmission({ metrics, isTls: deps.tls !== undefined })
  const answerError = createErrorHandler(deps)
  const followers = createFollowers(metrics)
  const streams = createEventStreams({ queries: deps.queries, streams: deps.streams, followers })
  const incidentBook = createIncidentBook(deps.queries)
  const overview = createOverview(deps, incidentBook)

  const app: App = Fastify<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, SchemaTypes>({
    serverFactory: handler => createListener(admitted(handler as RequestListener), deps.tls),
    clientErrorHandler: clientErrors.handle,
    // An address that cannot be decoded is met before any hook.
    frameworkErrors: (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
      runInContext(gate.enter(request, reply), () => answerError(error, request, reply))
    },
    bodyLimit: LIMITS.bodyBytesMax,
    routerOptions: { maxParamLength: LIMITS.urlBytesMax },
    return503OnClosing: false,
    loggerInstance: withoutNews(deps.logger),
    childLoggerFactory: logger => logger,
    logController: new LogController({ disableRequestLogging: true }),
  })

  app.decorateRequest('auditContext')
  app.decorateRequest('actor', null)
  app.decorateRequest('sessionSecret', null)
  app.decorateRequest('chargePoint', null)
  app.setValidatorCompiler(schemaValidator)
  app.setErrorHandler(answerError)
  app.setNotFoundHandler(() => {
    throw new Refusal('NOT_FOUND') // the gate has turned it away already; Fastify wants a handler all the same
  })
  registerJsonBody(app)
  app.addHook('onRoute', route => {
    routes.add(route.url, route.method)
    refuseStrayQuery(route)
  })
  app.addHook('onRequest', gate.onRequest)
  app.addHook('onSend', (request, _reply, payload, done) => {
    audit.settled(request.auditContext).then(() => done(null, payload), done)
  })
  closeInTime(app, followers.closeAll)
  // A tunnel is asked for: no request that Node would hand on, and without a listener it hangs up without a word.
  app.server.on('connect', (_request, socket) => clientErrors.handle(new Error('no tunnels here'), socket))

  await registerOpenApi(app, deps)
  const guards = createGuards(deps.security)
  authRoutes(app, deps)
  chargePointRoutes(app, deps, guards)
  keyRoutes(app, deps, guards)
  messageRoutes(app, deps, guards)
  statusRoutes(app, deps, guards)
  auditRoutes(app, deps, guards)
  incidentRoutes(app, deps, guards, incidentBook)
  overviewRoutes(app, deps, guards, { overview, followers })
  auditStreamRoute(app, deps, guards, streams)
  auditExportRoute(app, deps, guards)
  erasureRoute(app, deps, guards)
  evidenceRoutes(app, deps, guards)
  evidencePackRoute(app, deps, guards)
  evidenceStatusRoutes(app, deps, guards)
  sessionRoutes(app, deps, guards)
  serviceRoutes(app, deps, guards)
  registerConsole(app)
  await app.ready()
  return app
}

/** Fastify has nothing to say on a good day: where we listen, whoever started us says in words of their own. */
function withoutNews(logger: FastifyBaseLogger): FastifyBaseLogger {
  return ['trace', 'debug', 'info'].includes(logger.level) ? logger.child({}, { level: 'warn' }) : logger
}

/** A connection whose request ends while we close would otherwise stay for its keep-alive time. */
const SWEEP_MS = 50

function closeInTime(app: App, endStreams: () => void): void {
  let sweep: NodeJS.Timeout | undefined
  let cut: NodeJS.Timeout | undefined
  app.addHook('preClose', done => {
    endStreams()
    sweep = setInterval(() => app.server.closeIdleConnections(), SWEEP_MS).unref()
    cut = setTimeout(() => app.server.closeAllConnections(), LIMITS.closeGraceMs).unref()
    done()
  })
  app.addHook('onClose', (_instance, done) => {
    clearInterval(sweep)
    clearTimeout(cut)
    done()
  })
}
