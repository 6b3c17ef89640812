/** Sign-in for people at a browser: an admin key becomes a session, whose secret only the cookie has. */
import { Refusal } from '../../errors.ts'
import { LIMITS } from '../../limits.ts'
import { ROLES } from '../../security/security.ts'
import type { App, HttpDeps } from '../deps.ts'
import { SAFE_TEXT } from '../fields.ts'
import { type Guards, sessionOf } from '../guards.ts'
import { closed, object } from '../schema.ts'
import { sessionSecretOf, setSessionCookie } from '../session-cookie.ts'

const SignIn = closed(
  { admin_key: { type: 'string', minLength: 1, maxLength: LIMITS.adminKeyCharactersMax, pattern: SAFE_TEXT } },
  {},
  { title: 'SignInRequest', examples: [{ admin_key: `evca_${'0123456789abcdef'.repeat(4)}` }] },
)

const SignedIn = object(
  {
    name: { type: 'string' },
    role: { type: 'string', enum: ROLES },
    expires_at: { type: 'string', description: 'When the session ends unless it is renewed.' },
  },
  {
    title: 'Session',
    description: 'The session.',
    examples: [{ name: 'olga', role: 'operator', expires_at: '2025-12-14T09:00:00.000Z' }],
  },
)

const ended = { 204: { type: 'null', description: 'Signed out.' } } as const

export function sessionRoutes(app: App, deps: HttpDeps, guards: Guards): void {
  const { sessions } = deps.security
  const isTls = deps.tls !== undefined
  const tags = ['Sessions']
  const own = { onRequest: guards.session }
  const schema = { tags, security: [{ session: [] }] }

  app.post(
    '/session',
    {
      config: { errors: ['UNAUTHORIZED', 'TOO_MANY_ATTEMPTS', 'STATE_UNAVAILABLE', 'AUDIT_UNAVAILABLE'] },
      schema: {
        tags,
        operationId: 'signIn',
        summary: 'Sign in with an admin key',
        description: 'The answer sets a cookie that stands for the key, for half an hour unless it is renewed.',
        body: SignIn,
        response: { 201: SignedIn },
      },
    },
    async (request, reply) => {
      const { secret, ...session } = await sessions.open(request.body.admin_key)
      setSessionCookie(request, reply, isTls, { ...session, secret })
      return reply.code(201).send(session)
    },
  )

  app.get(
    '/session',
    {
      config: { errors: ['UNAUTHORIZED', 'TOO_MANY_ATTEMPTS', 'STATE_UNAVAILABLE'] },
      schema: {
        tags,
        operationId: 'session',
        summary: 'Who is signed in',
        description:
          'Asked by every page that opens, so that nobody is signed in is an answer, and no incident; a cookie that never was one is refused.',
        response: { 200: SignedIn, 204: { type: 'null', description: 'Nobody.' } },
      },
    },
    async (request, reply) => {
      const secret = sessionSecretOf(request)
      const session = secret === undefined ? undefined : await sessions.authorize(secret, ROLES).catch(unlessEnded)
      return session === undefined ? reply.code(204).send(null) : reply.code(200).send(session)
    },
  )

  app.post(
    '/session/renew',
    {
      ...own,
      schema: {
        ...schema,
        operationId: 'renewSession',
        summary: 'Stay signed in',
        description: `For half an hour more, up to ${LIMITS.sessionSecondsMax / 3600} hours after the sign-in.`,
        response: { 200: SignedIn },
      },
    },
    async (request, reply) => {
      const secret = sessionOf(request)
      const session = await sessions.renew(secret)
      setSessionCookie(request, reply, isTls, { ...session, secret })
      return session
    },
  )

  app.delete(
    '/session',
    { ...own, schema: { ...schema, operationId: 'signOut', summary: 'Sign out', response: ended } },
    async (request, reply) => {
      await sessions.end(sessionOf(request), 'this')
      setSessionCookie(request, reply, isTls, undefined)
      return reply.code(204).send(null)
    },
  )

  app.delete(
    '/sessions',
    {
      ...own,
      schema: {
        ...schema,
        operationId: 'signOutEverywhere',
        summary: 'Sign out everywhere',
        description: 'Ends every session of the admin. Its key goes on working.',
        response: ended,
      },
    },
    async (request, reply) => {
      await sessions.end(sessionOf(request), 'all')
      setSessionCookie(request, reply, isTls, undefined)
      return reply.code(204).send(null)
    },
  )
}

function unlessEnded(error: unknown): undefined {
  if (error instanceof Refusal && error.code === 'SESSION_ENDED') return undefined
  throw error
}
