/** Who may pass: onRequest hooks, so that nothing of a stranger's body is read. Decisions are the security stage's. */
import type { FastifyRequest } from 'fastify'
import { LIMITS } from '../limits.ts'
import type { Actor, ChargePoint, Role, Security } from '../security/security.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The admin a guard let pass. */
    actor: Actor | null
    /** The charge point a guard let pass. */
    chargePoint: ChargePoint | null
  }
}

const BEARER = /^bearer +([^\s]+) *$/i

export interface Guards {
  operator(...allowed: Role[]): (request: FastifyRequest) => Promise<void>
  readonly chargePoint: (request: FastifyRequest) => Promise<void>
}

export function createGuards(security: Security): Guards {
  return {
    operator:
      (...allowed) =>
      async request => {
        request.actor = await security.admins.authorize(adminKeyOf(request), allowed)
      },
    chargePoint: async request => {
      request.chargePoint = await security.authentication.bearer(bearerToken(request.headers.authorization))
    },
  }
}

export function adminKeyOf(request: FastifyRequest): string | undefined {
  const key = request.headers['x-admin-key']
  return typeof key === 'string' && key.length <= LIMITS.adminKeyCharactersMax ? key : undefined
}

function bearerToken(header: string | undefined): string | undefined {
  const token = header === undefined ? undefined : BEARER.exec(header)?.[1]
  return token !== undefined && token.length <= LIMITS.tokenCharactersMax ? token : undefined
}

/** The admin of a request that passed the operator guard. */
export function actorOf(request: FastifyRequest): Actor {
  if (request.actor === null) throw new Error('the route has no operator guard')
  return request.actor
}

/** The charge point of a request that passed the charge point guard. */
export function chargePointOf(request: FastifyRequest): ChargePoint {
  if (request.chargePoint === null) throw new Error('the route has no charge point guard')
  return request.chargePoint
}
