/** Who may pass: onRequest hooks, so that nothing of a stranger's body is read. Decisions are the security stage's. */
import type { FastifyRequest } from 'fastify'
import { LIMITS } from '../limits.ts'
import { type Actor, type ChargePoint, ROLES, type Role, type Security } from '../security/security.ts'
import { sessionSecretOf } from './session-cookie.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The admin a guard let pass. */
    actor: Actor | null
    /** Of the session the admin was known by, null with a key. */
    sessionSecret: string | null
    /** The charge point a guard let pass. */
    chargePoint: ChargePoint | null
  }
}

const BEARER = /^bearer +([^\s]+) *$/i

export interface Guards {
  /** With a key, or with the session of the console where no key was sent. */
  operator(...allowed: Role[]): (request: FastifyRequest) => Promise<void>
  /** With a session only. */
  readonly session: (request: FastifyRequest) => Promise<void>
  readonly chargePoint: (request: FastifyRequest) => Promise<void>
  /** Whether the key or session of a request that passed would still. For answers that go on; a refusal is no incident here. */
  stillAllowed(request: FastifyRequest): () => Promise<boolean>
}

export function createGuards({ admins, sessions, authentication }: Security): Guards {
  return {
    operator:
      (...allowed) =>
      async request => {
        const secret = request.headers['x-admin-key'] === undefined ? sessionSecretOf(request) : undefined
        if (secret === undefined) request.actor = await admins.authorize(adminKeyOf(request), allowed)
        else request.actor = await sessions.authorize(secret, allowed)
        request.sessionSecret = secret ?? null
      },
    session: async request => {
      const secret = sessionSecretOf(request)
      if (secret === undefined) request.actor = await admins.authorize(undefined, [])
      else request.actor = await sessions.authorize(secret, ROLES)
      request.sessionSecret = secret ?? null
    },
    chargePoint: async request => {
      request.chargePoint = await authentication.bearer(bearerToken(request.headers.authorization))
    },
    stillAllowed(request) {
      const { sessionSecret } = request
      if (sessionSecret !== null) return () => sessions.isOpen(sessionSecret)
      const key = adminKeyOf(request)
      return async () => key !== undefined && admins.isKey(key)
    },
  }
}

function adminKeyOf(request: FastifyRequest): string | undefined {
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

/** The session of a request that passed the session guard. */
export function sessionOf(request: FastifyRequest): string {
  if (request.sessionSecret === null) throw new Error('the route has no session guard')
  return request.sessionSecret
}

/** The charge point of a request that passed the charge point guard. */
export function chargePointOf(request: FastifyRequest): ChargePoint {
  if (request.chargePoint === null) throw new Error('the route has no charge point guard')
  return request.chargePoint
}
