/** Charge points log in: by credentials, or again by the token they were given. */
import { LIMITS } from '../../limits.ts'
import type { Login } from '../../security/security.ts'
import type { App, HttpDeps } from '../deps.ts'
import { cpId, cpStatus, EXAMPLE_CREDENTIALS, SAFE_TEXT } from '../fields.ts'
import { closed, object } from '../schema.ts'

const CredentialsRequest = closed(
  {
    cp_id: cpId,
    credentials: { type: 'string', minLength: 1, maxLength: LIMITS.credentialsCharactersMax, pattern: SAFE_TEXT },
  },
  {},
  { title: 'CredentialsRequest', examples: [{ cp_id: 'CP-0042', credentials: EXAMPLE_CREDENTIALS }] },
)

const TokenRequest = closed(
  { cp_id: cpId, token: { type: 'string', minLength: 1, maxLength: LIMITS.tokenCharactersMax, pattern: SAFE_TEXT } },
  {},
  { title: 'TokenRequest', examples: [{ cp_id: 'CP-0042', token: '<the token of the last login>' }] },
)

const Authenticated = object(
  {
    success: { type: 'boolean', const: true },
    cp_id: cpId,
    security_status: cpStatus,
    is_authorized: { type: 'boolean', const: true },
    message: { type: 'string' },
    token: { type: 'string' },
    token_type: { type: 'string', const: 'Bearer' },
    expires_in: { type: 'integer', description: 'Seconds.' },
  },
  {
    title: 'Login',
    description: 'The charge point is who it says it is, and may work.',
    examples: [
      {
        success: true,
        cp_id: 'CP-0042',
        security_status: 'ACTIVE',
        is_authorized: true,
        message: 'Authentication successful',
        token: '<token>',
        token_type: 'Bearer',
        expires_in: 86_400,
      },
    ],
  },
)

export function authRoutes(app: App, { security }: HttpDeps): void {
  const { authentication } = security
  const config = {
    isLogin: true,
    errors: ['AUTHENTICATION_FAILED', 'CP_REVOKED', 'CP_OUT_OF_SERVICE', 'TOO_MANY_ATTEMPTS'],
  } as const

  app.post(
    '/auth/credentials',
    {
      config,
      schema: {
        operationId: 'authenticateByCredentials',
        tags: ['Authentication'],
        summary: 'Log in with credentials',
        description:
          'An unknown id and a wrong secret get one and the same answer. Repeated failures are throttled by source address and by (address, id), never by id alone: the first attempt of an address is always looked at. While an id is attacked from many addresses, one that has failed at it waits longer. The right generated credentials are never held up.',
        body: CredentialsRequest,
        response: { 200: Authenticated },
      },
    },
    async ({ body }) => authenticated(await authentication.byCredentials(body.cp_id, body.credentials)),
  )

  app.post(
    '/auth/token',
    {
      config,
      schema: {
        operationId: 'authenticateByToken',
        tags: ['Authentication'],
        summary: 'Check a token',
        description: 'Answers with the same token and what is left of its life.',
        body: TokenRequest,
        response: { 200: Authenticated },
      },
    },
    async ({ body }) => authenticated(await authentication.byToken(body.cp_id, body.token)),
  )
}

function authenticated(login: Login) {
  return {
    success: true as const,
    cp_id: login.cp_id,
    security_status: login.security_status,
    is_authorized: true as const,
    message: 'Authentication successful',
    token: login.token,
    token_type: 'Bearer' as const,
    expires_in: login.expires_in,
  }
}
