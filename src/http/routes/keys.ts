/** Keys of charge points: operators generate, reset and revoke them; only the charge point itself can read its own. */
import type { KeyInfo } from '../../security/security.ts'
import type { App, HttpDeps } from '../deps.ts'
import { cpId, reason } from '../fields.ts'
import { actorOf, chargePointOf, type Guards } from '../guards.ts'
import { closed, object } from '../schema.ts'

const KeyRequest = closed(
  { cp_id: cpId },
  { reason },
  { title: 'KeyRequest', examples: [{ cp_id: 'CP-0042', reason: 'yearly rotation' }] },
)

const KEY_EXAMPLE = { cp_id: 'CP-0042', key_id: '019b1f6e-7a55-7cc0-8d0f-6f2f6f0c1a11', version: 2 }

const KeyChanged = object(
  {
    success: { type: 'boolean', const: true },
    cp_id: cpId,
    key_id: { type: 'string' },
    version: { type: 'integer' },
    fingerprint: { type: 'string', description: 'First 16 hex digits of SHA-256 of the key.' },
    message: { type: 'string' },
  },
  {
    title: 'KeyChange',
    description: 'Done.',
    examples: [{ success: true, ...KEY_EXAMPLE, fingerprint: '9f86d081884c7d65', message: 'Encryption key reset' }],
  },
)

const CurrentKey = object(
  {
    cp_id: cpId,
    key_id: { type: 'string' },
    version: { type: 'integer' },
    algorithm: { type: 'string', const: 'AES-256-GCM' },
    key: { type: 'string', description: 'Base64 of 32 bytes.' },
  },
  {
    title: 'CurrentKey',
    description: 'The key.',
    examples: [{ ...KEY_EXAMPLE, algorithm: 'AES-256-GCM', key: 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=' }],
  },
)

export function keyRoutes(app: App, { security }: HttpDeps, guards: Guards): void {
  const { keys } = security
  const onRequest = guards.operator('admin', 'operator')
  const schema = {
    tags: ['Keys'],
    security: [{ adminKey: [] }],
    body: KeyRequest,
    response: { 200: KeyChanged },
  }

  app.post(
    '/keys/generate',
    {
      onRequest,
      config: { errors: ['CP_NOT_FOUND', 'KEY_EXISTS', 'CP_NOT_ACTIVE'] },
      schema: { ...schema, operationId: 'generateKey', summary: 'Generate the first key' },
    },
    async request => {
      const { cp_id, reason } = request.body
      return changed(await keys.generate(cp_id, reason, actorOf(request)), 'Encryption key generated')
    },
  )

  app.post(
    '/keys/reset',
    {
      onRequest,
      config: { errors: ['CP_NOT_FOUND', 'KEY_NOT_FOUND', 'CP_NOT_ACTIVE'] },
      schema: {
        ...schema,
        operationId: 'resetKey',
        summary: 'Replace the key',
        description: 'The version goes up by one; the old key is revoked. ACTIVE or OUT_OF_SERVICE only.',
      },
    },
    async request => {
      const { cp_id, reason } = request.body
      return changed(await keys.reset(cp_id, reason, actorOf(request)), 'Encryption key reset')
    },
  )

  app.post(
    '/keys/revoke',
    {
      onRequest,
      config: { errors: ['CP_NOT_FOUND', 'KEY_NOT_FOUND'] },
      schema: { ...schema, operationId: 'revokeKey', summary: 'Revoke the key' },
    },
    async request => {
      const { cp_id, reason } = request.body
      return changed(await keys.revoke(cp_id, reason, actorOf(request)), 'Encryption key revoked')
    },
  )

  app.get(
    '/keys/current',
    {
      onRequest: guards.chargePoint,
      config: { errors: ['KEY_NOT_FOUND'] },
      schema: {
        operationId: 'currentKey',
        tags: ['Keys'],
        summary: 'Fetch the own key',
        description: 'For the charge point whose token it is; the only place a key ever leaves.',
        security: [{ chargePointToken: [] }],
        response: { 200: CurrentKey },
      },
    },
    request => keys.current(chargePointOf(request).cp_id),
  )
}

function changed(key: KeyInfo, message: string) {
  return { success: true as const, ...key, message }
}
