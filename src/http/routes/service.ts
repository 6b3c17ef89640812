/** The service about itself: for load balancers, Prometheus, and people who want to know what the API can do. */
import type { FastifyRequest } from 'fastify'
import { Refusal } from '../../errors.ts'
import type { App, HttpDeps, ReadinessReport } from '../deps.ts'
import type { Guards } from '../guards.ts'
import { problem, sendProblemBody } from '../problem.ts'
import { object } from '../schema.ts'
import { sessionSecretOf } from '../session-cookie.ts'

const Alive = object(
  { status: { type: 'string', const: 'ok' } },
  { title: 'Liveness', description: 'Alive.', examples: [{ status: 'ok' }] },
)

const checks = {
  type: 'array',
  items: object({ name: { type: 'string' }, ok: { type: 'boolean' }, detail: { type: 'string' } }),
} as const

const Ready = object(
  { ready: { type: 'boolean' }, checks },
  {
    title: 'Readiness',
    description: 'Ready.',
    examples: [{ ready: true, checks: [{ name: 'journal', ok: true, detail: 'open' }] }],
  },
)

export function serviceRoutes(app: App, { health, logger }: HttpDeps, guards: Guards): void {
  const tags = ['Service']
  const anyRole = guards.operator('admin', 'operator', 'auditor')
  const noteReadiness = createReadinessNotes(logger)

  /** Whether to say what errors say. A key that cannot be looked up now is as good as none: that is what is asked about. */
  async function isAdmin(request: FastifyRequest): Promise<boolean> {
    if (request.headers['x-admin-key'] === undefined && sessionSecretOf(request) === undefined) return false
    try {
      await anyRole(request)
      return true
    } catch (error) {
      if (error instanceof Refusal && error.code === 'STATE_UNAVAILABLE') return false
      throw error
    }
  }

  app.get(
    '/health',
    { schema: { operationId: 'health', tags, summary: 'Whether the process answers', response: { 200: Alive } } },
    async () => ({ status: 'ok' as const }),
  )

  app.get(
    '/ready',
    {
      config: { errors: ['NOT_READY', 'UNAUTHORIZED', 'SESSION_ENDED', 'TOO_MANY_ATTEMPTS'] }, // with a key that is none
      schema: {
        operationId: 'ready',
        tags,
        summary: 'Whether requests should be sent here',
        description:
          'Journal, store, index lag, disk. The 503 problem has the members `ready` and `checks` too. Needs no key; what errors say is for admins of any role, and in the log of the service.',
        response: { 200: Ready },
      },
    },
    async (request, reply) => {
      const isTold = await isAdmin(request)
      const report = await health.ready()
      noteReadiness(report)
      const { ready } = report
      const checks = report.checks.map(({ name, ok, detail, openly }) => ({
        name,
        ok,
        detail: isTold ? detail : openly,
      }))
      if (ready) return { ready, checks }
      const failing = checks.filter(check => !check.ok).map(check => check.name)
      const body = problem('NOT_READY', request.auditContext.requestId, { detail: `Not ready: ${failing.join(', ')}.` })
      reply.header('retry-after', '1')
      return sendProblemBody(reply, 503, { ...body, ready, checks })
    },
  )

  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'metrics',
        tags,
        summary: 'Metrics for Prometheus',
        description: 'Needs no key; holds no names, addresses or ids.',
        response: {
          200: {
            description: 'Prometheus text format.',
            content: { 'text/plain': { schema: { type: 'string' }, example: 'evc_http_requests_in_flight 3\n' } },
          },
        },
      },
    },
    async (_request, reply) => reply.type(health.registry.contentType).send(await health.registry.metrics()),
  )
}

/** A line of the log whenever other checks fail than the last time that somebody asked. */
function createReadinessNotes(logger: HttpDeps['logger']): (report: ReadinessReport) => void {
  let noted = ''
  return ({ checks }) => {
    const failing = checks.filter(({ ok }) => !ok)
    const names = failing.map(({ name }) => name).join(', ')
    if (names === noted) return
    noted = names
    if (failing.length === 0) logger.info('ready again')
    else logger.warn({ checks: failing.map(({ name, detail }) => ({ name, detail })) }, 'not ready')
  }
}
