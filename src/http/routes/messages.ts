/** Charge points deliver encrypted messages. */
import { LIMITS } from '../../limits.ts'
import type { App, HttpDeps } from '../deps.ts'
import { cpId } from '../fields.ts'
import { chargePointOf, type Guards } from '../guards.ts'
import { closed, object } from '../schema.ts'

const MessageRequest = closed(
  {
    payload: {
      type: 'string',
      minLength: 1,
      maxLength: LIMITS.messageCharactersMax,
      pattern: '^[A-Za-z0-9+/]+={0,2}$',
      description:
        'Base64 of nonce (12 bytes) || ciphertext || tag (16 bytes): AES-256-GCM with the current key and the cp_id as associated data. A nonce is good for one message.',
    },
  },
  {},
  {
    title: 'MessageRequest',
    examples: [{ payload: 'MDEyMzQ1Njc4OWFiTDM3HTNV7n7ISDuZkku+P3vCeeXS/MqbAVNJutWfXYpPzmU=' }],
  },
)

const Accepted = object(
  { accepted: { type: 'boolean', const: true }, cp_id: cpId, key_version: { type: 'integer' } },
  {
    title: 'AcceptedMessage',
    description: 'The message is authentic.',
    examples: [{ accepted: true, cp_id: 'CP-0042', key_version: 2 }],
  },
)

export function messageRoutes(app: App, { security }: HttpDeps, guards: Guards): void {
  app.post(
    '/messages',
    {
      onRequest: guards.chargePoint,
      config: { errors: ['TAMPERING_DETECTED', 'KEY_NOT_FOUND', 'KEY_EXHAUSTED'] },
      schema: {
        operationId: 'acceptMessage',
        tags: ['Messages'],
        summary: 'Deliver an encrypted message',
        description: 'A wrong tag, a wrong key or a repeated nonce is refused and put on record as an incident.',
        security: [{ chargePointToken: [] }],
        body: MessageRequest,
        response: { 200: Accepted },
      },
    },
    request => security.messages.accept(chargePointOf(request).cp_id, request.body.payload),
  )
}
