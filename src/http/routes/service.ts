/** The service about itself: for load balancers, Prometheus, and people who want to know what the API can do. */
import { Type } from 'typebox'
import type { App, HttpDeps } from '../deps.ts'
import { problem, sendProblemBody } from '../problem.ts'

const Alive = Type.Object({ status: Type.Literal('ok') }, { description: 'Alive.', examples: [{ status: 'ok' }] })

const checks = Type.Array(Type.Object({ name: Type.String(), ok: Type.Boolean(), detail: Type.String() }))

const Ready = Type.Object(
  { ready: Type.Boolean(), checks },
  {
    description: 'Ready.',
    examples: [{ ready: true, checks: [{ name: 'journal', ok: true, detail: 'open' }] }],
  },
)

export function serviceRoutes(app: App, { health }: HttpDeps): void {
  const tags = ['Service']

  app.get(
    '/health',
    { schema: { operationId: 'health', tags, summary: 'Whether the process answers', response: { 200: Alive } } },
    async () => ({ status: 'ok' as const }),
  )

  app.get(
    '/ready',
    {
      config: { errors: ['NOT_READY'] },
      schema: {
        operationId: 'ready',
        tags,
        summary: 'Whether requests should be sent here',
        description: 'Journal, store, index lag, disk. The 503 problem has the members `ready` and `checks` too.',
        response: { 200: Ready },
      },
    },
    async (request, reply) => {
      const { ready, checks } = await health.ready()
      if (ready) return { ready, checks: [...checks] }
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
            content: { 'text/plain': { schema: Type.String(), example: 'evc_http_requests_in_flight 3\n' } },
          },
        },
      },
    },
    async (_request, reply) => reply.type(health.registry.contentType).send(await health.registry.metrics()),
  )
}
