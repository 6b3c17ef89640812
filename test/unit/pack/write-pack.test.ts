import assert from 'node:assert/strict'
import test from 'node:test'
import { unzipSync } from 'fflate'
import { Refusal } from '../../../src/errors.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createFilePacker } from '../../../src/pack/packed-file.ts'
import { type PackSource, writePack } from '../../../src/pack/write-pack.ts'
import { zipFiles } from '../../../src/pack/zip.ts'
import { makePack, packSource, SELECTION } from '../../harness/pack-under-test.ts'

const refused = (code: string) => (error: unknown) => error instanceof Refusal && error.code === code
const idsOf = (files: Map<string, Uint8Array>) =>
  Buffer.from(files.get('events.ndjson') ?? assert.fail())
    .toString()
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line).id as number)

test('zip: what is packed in pieces is the same content again, also nothing', async () => {
  const packer = createFilePacker('some.txt')
  const pieces = Array.from({ length: 50 }, (_, i) => `${i} `.repeat(1_000))
  for (const piece of pieces) await packer.push(piece)
  const empty = await createFilePacker('empty.txt').end()
  const zip = Buffer.concat([...zipFiles([await packer.end(), empty])])
  const files = unzipSync(zip)
  assert.equal(Buffer.from(files['some.txt'] ?? assert.fail()).toString(), pieces.join(''))
  assert.deepEqual([empty.bytes, files['empty.txt']?.length], [0, 0])
})

test('pack: holds what was asked for: a time, a charge point, an incident', async () => {
  assert.equal(idsOf(await makePack()).length, 290)
  const ofChargePoint = idsOf(await makePack({ ...SELECTION, cp_id: 'CP-2' }))
  assert.deepEqual(ofChargePoint.slice(0, 3), [2, 8, 11]) // 5 is erased
  const ofIncident = idsOf(await makePack({ ...SELECTION, incident: 20 }))
  assert.ok(ofIncident.includes(20) && ofIncident.includes(22) && !ofIncident.includes(3))
  const none = await makePack({ ...SELECTION, end_time: SELECTION.start_time })
  assert.deepEqual(idsOf(none), [])
})

test('pack: what cannot be made is refused: no incident, nothing signed, too many events', async () => {
  await assert.rejects(writePack(packSource, { ...SELECTION, incident: 21 }), refused('EVENT_NOT_FOUND'))
  await assert.rejects(writePack({ ...packSource, checkpoint: undefined }, SELECTION), refused('NOT_SIGNED_YET'))
  await assert.rejects(writePack({ ...packSource, keys: undefined }, SELECTION), refused('NOT_SIGNED_YET'))
  const huge: PackSource = {
    ...packSource,
    queries: { ...packSource.queries, count: async ({ max }) => Math.min(max, 10 * LIMITS.evidencePackEventsMax) },
  }
  await assert.rejects(writePack(huge, SELECTION), refused('EVIDENCE_TOO_LARGE'))
})

test('pack: whoever goes away ends it', async () => {
  const signal = AbortSignal.abort(new Error('gone'))
  await assert.rejects(writePack(packSource, SELECTION, { signal }), /gone/)
})
