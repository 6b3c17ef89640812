/** How the log is doing, its keys, and having all of it verified now. */
import { Refusal } from '../../errors.ts'
import type { App, EvidenceStatus, HttpDeps, VerificationStatus } from '../deps.ts'
import { nullableText } from '../fields.ts'
import { actorOf, type Guards } from '../guards.ts'
import { object } from '../schema.ts'

export const EVIDENCE_EXAMPLE: EvidenceStatus = {
  phase: 'following',
  size: 1041,
  signed_at: '2025-12-14T08:59:58.000Z',
  unsigned_seconds: 0,
  last_error: null,
  cosigned_size: 1041,
  witnesses: [
    {
      name: 'witness.example.org',
      url: 'https://witness.example.org/',
      cosigned_size: 1041,
      cosigned_at: '2025-12-14T08:59:59.000Z',
      failures: 0,
      last_fault: null,
    },
  ],
  self_check: { through: 768, rounds: 12, stalled_seconds: 0.8 },
}

export const evidenceFields = {
  phase: { type: 'string', description: 'following, refused, tampered or stopped.' },
  size: { type: 'integer', description: 'Events under the newest checkpoint.' },
  signed_at: nullableText({ description: 'When; null while it is one of an earlier process.' }),
  unsigned_seconds: { type: 'number', description: 'How long the oldest event has waited that no checkpoint covers.' },
  last_error: nullableText(),
  cosigned_size: { type: 'integer', description: 'Events under the newest checkpoint that enough witnesses cosigned.' },
  witnesses: {
    type: 'array',
    items: object({
      name: { type: 'string' },
      url: { type: 'string' },
      cosigned_size: { type: 'integer' },
      cosigned_at: nullableText(),
      failures: { type: 'integer', description: 'Attempts that failed since the last that went well.' },
      last_fault: nullableText(),
    }),
  },
  self_check: {
    anyOf: [
      object({ through: { type: 'integer' }, rounds: { type: 'integer' }, stalled_seconds: { type: 'number' } }),
      { type: 'null' },
    ],
    description:
      'Reading the trail again in the background: events of this round, rounds that went well, and for how long it has not gone on. With PostgreSQL, of whichever instance does it. Null before the first look.',
  },
} as const

const Evidence = object(evidenceFields, {
  title: 'EvidenceStatus',
  description: 'As of now.',
  examples: [EVIDENCE_EXAMPLE],
})

const VERIFICATION_EXAMPLE: VerificationStatus = {
  phase: 'running',
  started_at: '2025-12-14T09:00:00.000Z',
  started_by: 'aldo',
  ended_at: null,
  done: 512,
  total: 1041,
  verdict: null,
  sentence: null,
}

const verificationFields = {
  phase: { type: 'string', enum: ['never', 'running', 'done', 'failed'] },
  started_at: nullableText(),
  started_by: nullableText(),
  ended_at: nullableText(),
  done: { type: 'integer' },
  total: { type: 'integer' },
  verdict: nullableText({ description: 'As of `ev-central verify`: PRISTINE, or what is wrong.' }),
  sentence: nullableText(),
} as const
const Verification = object(verificationFields, {
  title: 'Verification',
  description: 'The last one.',
  examples: [VERIFICATION_EXAMPLE],
})

const KEYS_EXAMPLE =
  '{"verifier":"ev-central/5f0c1a2b3c4d5e6f+2f3a4b5c+AZ0lq1kPpX1mN4uY1rJrV7jAf0sS8Qv1R0cXy0m9l8Zt"}\n'

export function evidenceStatusRoutes(app: App, deps: HttpDeps, guards: Guards): void {
  const { verification } = deps
  const { isLogPublic } = deps.settings
  const onRequest = guards.operator('admin', 'operator', 'auditor')
  const common = { tags: ['Evidence'], security: [{ adminKey: [] }] }

  app.get(
    '/evidence',
    {
      onRequest,
      schema: {
        ...common,
        operationId: 'evidenceStatus',
        summary: 'How the log is doing',
        response: { 200: Evidence },
      },
    },
    async () => deps.evidence(),
  )

  app.get(
    '/evidence/keys',
    {
      ...(isLogPublic ? {} : { onRequest }),
      config: { errors: ['NOT_SIGNED_YET'] },
      schema: {
        ...(isLogPublic ? { tags: common.tags } : common),
        operationId: 'logKeys',
        summary: 'The keys of the log',
        description:
          'The key chain, as in an evidence pack. Compare the first key with one that you were given otherwise.',
        response: {
          200: {
            description: 'A key in each line, the first one first.',
            content: { 'text/plain': { schema: { type: 'string' }, example: KEYS_EXAMPLE } },
          },
        },
      },
    },
    async (_request, reply) => {
      const keys = deps.keyChain()
      if (keys === undefined) throw new Refusal('NOT_SIGNED_YET', undefined, { retryAfterSeconds: 1 })
      return reply.type('text/plain; charset=utf-8').send(keys as never)
    },
  )

  app.get(
    '/evidence/verification',
    {
      onRequest,
      schema: {
        ...common,
        operationId: 'verification',
        summary: 'How far the verification is, or what it found',
        response: { 200: Verification },
      },
    },
    async () => verification.status(),
  )

  app.post(
    '/evidence/verification',
    {
      onRequest,
      schema: {
        ...common,
        operationId: 'verifyNow',
        summary: 'Verify the whole trail now',
        description:
          'Every row against its leaf, every leaf against every signed checkpoint, as `ev-central verify` does. One at a time; what it decides is on record.',
        response: { 202: Verification },
      },
    },
    async (request, reply) => reply.code(202).send(verification.start(actorOf(request).name)),
  )
}
