/** Evidence packs: events, their proofs, and a page that checks them, as one zip. */
import { Readable } from 'node:stream'
import { Refusal } from '../../errors.ts'
import { LIMITS } from '../../limits.ts'
import { writePack } from '../../pack/write-pack.ts'
import { createAccessRecorder } from '../access.ts'
import { timeFields, timeFilter } from '../audit-filter.ts'
import type { App, HttpDeps } from '../deps.ts'
import { SAFE_TEXT } from '../fields.ts'
import type { Guards } from '../guards.ts'
import { createPlaces } from '../places.ts'
import { closed } from '../schema.ts'

const PackQuery = closed(timeFields, {
  cp_id: {
    type: 'string',
    minLength: 1,
    maxLength: LIMITS.cpIdCharactersMax,
    pattern: SAFE_TEXT,
    description: 'Only events of this charge point.',
  },
  incident: {
    type: 'integer',
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'Id of an INCIDENT event: only events of its address, or of its charge point if it is about that.',
  },
})

const PackAnswer = {
  description:
    'A zip: `index.html`, `events.ndjson`, `proofs.ndjson`, `checkpoint`, `keys`, `manifest.json`, `manifest.note`.',
  content: {
    'application/zip': { schema: { type: 'string', format: 'binary' }, example: '' },
  },
} as const

export function evidencePackRoute(app: App, deps: HttpDeps, guards: Guards): void {
  const access = createAccessRecorder(deps.audit)
  const places = createPlaces(LIMITS.evidencePacksMax)

  app.get(
    '/audit/evidence',
    {
      onRequest: guards.operator('admin', 'operator', 'auditor'),
      exposeHeadRoute: false,
      config: {
        errors: [
          'EVIDENCE_TOO_LARGE',
          'EVENT_NOT_FOUND',
          'ARCHIVE_INVALID',
          'NOT_SIGNED_YET',
          'STORE_UNAVAILABLE',
          'QUERY_TIMEOUT',
          'OVERLOADED',
        ],
      },
      schema: {
        operationId: 'evidencePack',
        tags: ['Evidence'],
        summary: 'An evidence pack',
        description:
          'The events of a time that the newest checkpoint covers, also from archives that are where they were written to, with what proves them and a page that checks them without a network. Answered when all of it is there.',
        security: [{ adminKey: [] }],
        querystring: PackQuery,
        response: { 200: PackAnswer },
      },
    },
    async (request, reply) => {
      const { cp_id = null, incident = null } = request.query
      const { start_time = '', end_time = '' } = timeFilter(request.query)
      const selection = { start_time, end_time, cp_id, incident }
      const asked = Object.fromEntries(Object.entries(selection).filter(([, value]) => value !== null))
      const gone = new AbortController()
      reply.raw.once('close', () => gone.abort())
      const isAllowed = guards.stillAllowed(request)
      const { zip } = await access.exported(request, 'evidence pack', asked, async () => {
        places.take(reply)
        const pack = await build(selection, gone.signal)
        if (!(await isAllowed())) throw new Refusal('UNAUTHORIZED') // it took its time
        return pack
      })
      const name = `evidence-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}Z.zip`
      return reply
        .type('application/zip')
        .header('cache-control', 'private, no-store')
        .header('content-disposition', `attachment; filename="${name}"`)
        .send(Readable.from(zip, { objectMode: false }) as never)
    },
  )

  async function build(selection: Parameters<typeof writePack>[1], signal: AbortSignal) {
    try {
      const checkpoint = deps.checkpoint()
      using queries = await deps.packSource()
      const source = { queries, checkpoint, keys: deps.keyChain(), signManifest: deps.signManifest }
      return await writePack(source, selection, { isResting: true, signal })
    } catch (error) {
      throw signal.aborted ? new Refusal('REQUEST_TIMEOUT', 'The client went away.', { cause: error }) : error
    }
  }
}
