/** Erasure: whatever the trail holds of a charge point, a former admin or an address is overwritten. Only admins may. */
import { canonicalAddress } from '../../context/client-address.ts'
import { counted } from '../../counted.ts'
import { LIMITS } from '../../limits.ts'
import type { App, HttpDeps } from '../deps.ts'
import { nullableInteger, reason, SAFE_TEXT } from '../fields.ts'
import { actorOf, type Guards } from '../guards.ts'
import { closed, object } from '../schema.ts'
import { invalid } from '../validation.ts'

const ErasureRequest = closed(
  { reason },
  {
    who: {
      type: 'string',
      minLength: 1,
      maxLength: LIMITS.whoCharactersMax,
      pattern: SAFE_TEXT,
      description: 'Charge point or former admin, as `who` of events has it.',
    },
    ip: { type: 'string', minLength: 2, maxLength: 64, description: 'Client address.' },
  },
  {
    title: 'ErasureRequest',
    description: 'Exactly one of `who` and `ip`. The reason stays for ever and must not name the subject.',
    examples: [{ who: 'CP-0042', reason: 'request 2026-118' }],
  },
)

const Erasure = object(
  {
    erased: { type: 'integer', description: 'How many events.' },
    event_id: nullableInteger({ description: 'The event that says so; null when no event held the subject.' }),
    message: { type: 'string' },
  },
  {
    title: 'Erasure',
    description: 'Done.',
    examples: [{ erased: 118, event_id: 1042, message: '118 events were erased' }],
  },
)

export function erasureRoute(app: App, { erasures }: HttpDeps, guards: Guards): void {
  app.post(
    '/audit/erasures',
    {
      onRequest: guards.operator('admin'),
      config: {
        errors: [
          'LEGAL_HOLD',
          'SUBJECT_IN_USE',
          'ERASURE_BLOCKED',
          'ARCHIVE_RUNNING',
          'ARCHIVE_INVALID',
          'STATE_UNAVAILABLE',
          'STATE_UNCERTAIN',
          'STORE_UNAVAILABLE',
          'ERASURE_UNFINISHED',
        ],
      },
      schema: {
        operationId: 'erase',
        tags: ['Audit'],
        summary: 'Erase whatever the trail holds of somebody',
        description:
          'Blanks every event that holds the subject, destroys its salt, and overwrites what is left in files. Proofs given before stay valid. Answers when all is done, which takes as long as reading the trail. Cannot be undone.',
        security: [{ adminKey: [] }],
        body: ErasureRequest,
        response: { 200: Erasure },
      },
    },
    async request => {
      const { reason } = request.body
      const done = await erasures.erase({
        subject: subjectOf(request.body),
        reason,
        actor: actorOf(request).name,
      })
      return { erased: done.erased, event_id: done.eventId, message: messageOf(done) }
    },
  )
}

/** @throws {Refusal} VALIDATION_FAILED */
function subjectOf({ who, ip }: { who?: string; ip?: string }) {
  if (who !== undefined && ip !== undefined) throw invalid([{ field: 'ip', rule: 'excludes_who' }])
  if (who !== undefined) return { kind: 'who', name: who } as const
  if (ip === undefined) throw invalid([{ field: 'who', rule: 'required' }])
  const address = canonicalAddress(ip)
  if (address === undefined) throw invalid([{ field: 'ip', rule: 'address' }])
  return { kind: 'ip', name: address } as const
}

function messageOf({
  erased,
  archivesMissing,
  journalsBehind,
}: Awaited<ReturnType<HttpDeps['erasures']['erase']>>): string {
  const done = erased === 0 ? 'No event holds the subject' : counted(erased, 'event was erased', 'events were erased')
  const archives = 'archives that are not at hand were not looked into'
  const journals =
    'instances are away: when they return they clear their journals; ask again then, for what these hand over'
  return [
    done,
    ...(archivesMissing.length === 0 ? [] : [`${archives}: ${archivesMissing.join(', ')}`]),
    ...(journalsBehind.length === 0 ? [] : [`${journals}: ${journalsBehind.join(', ')}`]),
  ].join('; ')
}
