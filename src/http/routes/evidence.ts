/**
 * The log, for those who check it: checkpoints and tiles as C2SP tlog-tiles has them, and proofs. Tiles hold no personal data;
 * a proof of an event does, and reading one is put on record as reading the event is.
 *
 * A row is signed about a second after it is there: who asks meanwhile waits for the checkpoint instead of being sent away.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Refusal } from '../../errors.ts'
import { parseSignedCheckpoint } from '../../evidence/checkpoint.ts'
import { formatBase64 } from '../../evidence/encoding.ts'
import { isErasedSalt } from '../../evidence/leaf.ts'
import { formatDisclosure, formatProof } from '../../evidence/proof.ts'
import { parseTilePath } from '../../evidence/tile.ts'
import { LIMITS } from '../../limits.ts'
import { createAccessRecorder } from '../access.ts'
import type { App, HttpDeps } from '../deps.ts'
import type { Guards } from '../guards.ts'
import { closed, object } from '../schema.ts'
import { invalid } from '../validation.ts'

const TEXT = 'text/plain; charset=utf-8'
/** How often a request that waits for a checkpoint looks. */
const LOOK_MS = 50
const NOTE_EXAMPLE = `ev-central/5f0c1a2b3c4d5e6f
1041
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 ev-central/5f0c1a2b3c4d5e6f Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
`
const PROOF_EXAMPLE = `c2sp.org/tlog-proof@v1
index 1040
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

${NOTE_EXAMPLE}`

const note = (description: string, example: string) => ({
  description,
  content: { 'text/plain': { schema: { type: 'string' }, example } },
})

const size = { type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER } as const
const ConsistencyQuery = closed({ from: size, to: size })
const Consistency = object(
  { from: size, to: size, hashes: { type: 'array', items: { type: 'string', description: 'A node hash, base64.' } } },
  {
    title: 'ConsistencyProof',
    description: 'RFC 6962, section 2.1.2.',
    examples: [{ from: 256, to: 1041, hashes: ['CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I='] }],
  },
)
const TileParams = closed({ '*': { type: 'string', description: '`<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`.' } })
const EventParams = closed({ id: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER } })

export function evidenceRoutes(app: App, deps: HttpDeps, guards: Guards): void {
  const { queries, checkpoint } = deps
  const { isLogPublic } = deps.settings
  const access = createAccessRecorder(deps.audit)
  const anyRole = guards.operator('admin', 'operator', 'auditor')
  const open = isLogPublic ? {} : { onRequest: anyRole }
  const tags = ['Evidence']
  const openSchema = { tags, ...(isLogPublic ? {} : { security: [{ adminKey: [] }] }) }
  const reach = isLogPublic ? 'public' : 'private'

  /** The newest checkpoint, and the size of its tree. @throws {Refusal} NOT_SIGNED_YET */
  function signed(): { note: string; size: number } {
    const newest = checkpoint()
    const parsed = newest === undefined ? undefined : parseSignedCheckpoint(newest)
    if (newest === undefined || parsed === undefined)
      throw new Refusal('NOT_SIGNED_YET', undefined, { retryAfterSeconds: 1 })
    return { note: newest, size: parsed.size }
  }

  /** Asks again with each new checkpoint while the newest does not cover it, for `signedWaitMsMax`. */
  async function onceSigned<T>(question: () => T | Promise<T>): Promise<T> {
    const deadline = performance.now() + LIMITS.signedWaitMsMax
    for (;;) {
      const asked = checkpoint()
      try {
        return await question()
      } catch (error) {
        if (!(error instanceof Refusal) || error.code !== 'NOT_SIGNED_YET') throw error
        while (checkpoint() === asked) {
          if (performance.now() >= deadline) throw error
          await sleep(LOOK_MS)
        }
      }
    }
  }

  app.get(
    '/checkpoint',
    {
      ...open,
      config: { errors: ['NOT_SIGNED_YET'] },
      schema: {
        ...openSchema,
        operationId: 'checkpoint',
        summary: 'The newest signed checkpoint',
        description: 'C2SP tlog-checkpoint, with the cosignatures of witnesses there are.',
        response: { 200: note('Signed note.', NOTE_EXAMPLE) },
      },
    },
    async (_request, reply) =>
      reply
        .type(TEXT)
        .header('cache-control', 'no-cache')
        .send((await onceSigned(signed)).note as never),
  )

  app.get(
    '/checkpoint/consistency',
    {
      ...open,
      config: { errors: ['NOT_SIGNED_YET', 'STORE_UNAVAILABLE', 'QUERY_TIMEOUT'] },
      schema: {
        ...openSchema,
        operationId: 'consistencyProof',
        summary: 'That one tree is the beginning of another',
        description: 'Sizes up to that of the newest checkpoint.',
        querystring: ConsistencyQuery,
        response: { 200: Consistency },
      },
    },
    async request => {
      const { from, to } = request.query
      if (from > to) throw invalid([{ field: 'from', rule: 'maximum' }])
      if (to > signed().size) throw invalid([{ field: 'to', rule: 'maximum' }])
      const hashes = await queries.consistency({ from, to })
      return { from, to, hashes: hashes.map(formatBase64) }
    },
  )

  app.get(
    '/tile/*',
    {
      ...open,
      config: { errors: ['NOT_FOUND', 'NOT_SIGNED_YET', 'STORE_UNAVAILABLE', 'QUERY_TIMEOUT'] },
      schema: {
        ...openSchema,
        operationId: 'tile',
        summary: 'A tile of hashes, or a bundle of entries',
        description: 'C2SP tlog-tiles, of the tree of the newest checkpoint. Never changes.',
        params: TileParams,
        response: {
          200: {
            description: 'The tile.',
            content: {
              'application/octet-stream': {
                schema: { type: 'string', format: 'binary' },
                example: '',
              },
            },
          },
        },
      },
    },
    async (request, reply) => {
      const tile = parseTilePath(`tile/${request.params['*']}`)
      const bytes = tile && (await queries.tile({ tile, size: signed().size }))
      if (bytes === undefined) throw new Refusal('NOT_FOUND')
      return reply
        .type('application/octet-stream')
        .header('cache-control', `${reach}, max-age=31536000, immutable`)
        .send(Buffer.from(bytes) as never)
    },
  )

  app.get(
    '/audit/events/:id/proof',
    {
      onRequest: anyRole,
      config: { errors: ['EVENT_NOT_FOUND', 'NOT_SIGNED_YET', 'STORE_UNAVAILABLE', 'QUERY_TIMEOUT'] },
      schema: {
        tags,
        security: [{ adminKey: [] }],
        operationId: 'proveEvent',
        summary: 'Proof that an event is in the log',
        description:
          'C2SP tlog-proof. Its extra data is the event and its salt, so that the proof says alone what happened; an erased event has none.',
        params: EventParams,
        response: { 200: note('The proof.', PROOF_EXAMPLE) },
      },
    },
    async (request, reply) => {
      const { id } = request.params
      const prove = async () => {
        const { note: checkpointNote, size: signedSize } = signed()
        const proof = await queries.proof({ id, size: signedSize })
        if (proof === undefined) throw new Refusal('EVENT_NOT_FOUND')
        const { event, salt, hashes } = proof
        const disclosure = isErasedSalt(salt) ? {} : { extra: formatDisclosure({ salt, row: event }) }
        return formatProof({ index: id - 1, hashes, checkpoint: checkpointNote, ...disclosure })
      }
      const text = await access.read(request, `proof of event ${id}`, { id }, () => onceSigned(prove))
      return reply
        .type(TEXT)
        .header('cache-control', 'private, no-cache')
        .send(text as never)
    },
  )
}
