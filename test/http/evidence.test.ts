import assert from 'node:assert/strict'
import { renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import type { StoredEvent } from '../../src/event/event.ts'
import { openCheckpoint } from '../../src/evidence/checkpoint.ts'
import { parseBase64 } from '../../src/evidence/encoding.ts'
import { hashLeaf } from '../../src/evidence/merkle.ts'
import { rootHash, verifyConsistency } from '../../src/evidence/merkle-proof.ts'
import { parseVerifierKey } from '../../src/evidence/note.ts'
import { compareRows, parseProof, verifyProof } from '../../src/evidence/proof.ts'
import { createVerifier } from '../../src/evidence/signature.ts'
import { formatTilePath, hashesFromTiles, parseBundle, type Tile, tileAt } from '../../src/evidence/tile.ts'
import { verifyEvidencePack } from '../../src/verify/index.ts'
import { eventually, ONLY_SQLITE, problemOf, startTestCentral, type TestCentral } from './harness.ts'

const ORIGIN = 'log.example.com/http'
let central: TestCentral
before(async () => {
  central = await startTestCentral({ EVC_LOG_ORIGIN: ORIGIN })
})
after(() => central.close())

/** The newest checkpoint once it covers so many events, trusted. */
async function checkpointOf(size: number) {
  const keys = await trusted()
  let opened = openCheckpoint('', keys)
  await eventually(async () => {
    const answer = await central.send('GET', '/checkpoint', { as: 'auditor' })
    if (answer.status !== 200) return false
    opened = openCheckpoint(answer.text, keys)
    return opened.isTrusted && opened.checkpoint.size >= size
  })
  return opened.isTrusted ? opened.checkpoint : assert.fail()
}

async function trusted() {
  const key = parseVerifierKey(central.logKey()) ?? assert.fail()
  return { origin: ORIGIN, log: [createVerifier(key)] }
}

async function tile(tile: Tile): Promise<Uint8Array> {
  const response = await fetch(`${central.url}/${formatTilePath(tile)}`, {
    headers: { 'x-admin-key': central.keys.auditor },
  })
  assert.equal(response.status, 200, formatTilePath(tile))
  assert.match(response.headers.get('cache-control') ?? '', /^private, max-age=31536000, immutable$/)
  return new Uint8Array(await response.arrayBuffer())
}

test('evidence: the whole log, as a stranger reads it, has the root that is signed', async () => {
  for (let i = 0; i < 260; i++) await central.send('GET', '/audit/failures', { as: 'auditor' })
  const { size, root } = await checkpointOf(260)
  const hashes: Uint8Array[] = []
  for (let index = 0; tileAt('entries', index, size) !== undefined; index++) {
    const bundle = tileAt('entries', index, size) as Tile
    for (const entry of parseBundle(await tile(bundle), bundle.width) ?? assert.fail()) hashes.push(hashLeaf(entry))
  }
  assert.equal(hashes.length, size)
  const level0 = new Map<number, Uint8Array>()
  const level1 = await tile(tileAt(1, 0, size) as Tile)
  for (let index = 0; tileAt(0, index, size) !== undefined; index++)
    level0.set(index, await tile(tileAt(0, index, size) as Tile))
  const read = hashesFromTiles(size, ({ level, index }) =>
    level === 1 ? level1 : (level0.get(index) ?? assert.fail()),
  )
  assert.deepEqual(rootHash(size, read), root)
  assert.deepEqual(Buffer.concat(hashes), Buffer.concat([...level0.values()]))
})

test('evidence: an event is proven by its proof alone, and by no other row', async () => {
  const { body } = await central.send('GET', '/audit/events?limit=1', { as: 'auditor' })
  const event = body.events[0]
  // It was not signed when it was read: the proof waits for that.
  const answer = await central.send('GET', `/audit/events/${event.id}/proof`, { as: 'auditor' })
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.headers.get('content-type'), 'text/plain; charset=utf-8')
  const verdict = verifyProof(answer.text, await trusted())
  assert.ok(verdict.isProven)
  assert.deepEqual(verdict.row, event)
  for (const column of Object.keys(event)) {
    const changed = { ...event, [column]: typeof event[column] === 'number' ? event[column] + 1 : 'changed' }
    assert.equal(compareRows(verdict.row, changed), 'other', column)
  }
  assert.equal(parseProof(answer.text)?.index, event.id - 1)
  const [access] = await central.eventsOf(answer.requestId)
  assert.deepEqual([access?.action, access?.reason_code], ['ACCESS', 'READ'])
})

test('evidence: one tree is proven to be the beginning of another', async () => {
  const older = await checkpointOf(1)
  await central.send('GET', '/audit/events', { as: 'auditor' })
  const newer = await checkpointOf(older.size + 1)
  const path = `/checkpoint/consistency?from=${older.size}&to=${newer.size}`
  const { body } = await central.send('GET', path, { as: 'auditor' })
  const hashes = body.hashes.map((hash: string) => parseBase64(hash))
  assert.ok(verifyConsistency(older, newer, hashes))
  problemOf(
    await central.send('GET', '/checkpoint/consistency?from=2&to=1', { as: 'auditor' }),
    422,
    'VALIDATION_FAILED',
  )
  problemOf(
    await central.send('GET', '/checkpoint/consistency?from=1&to=9999999', { as: 'auditor' }),
    422,
    'VALIDATION_FAILED',
  )
})

test('evidence: what is not there, or spelled another way, is not found', async () => {
  const { size } = await checkpointOf(1)
  const wrong = [
    '0/0',
    '0/000/',
    '0/001000',
    'entries/x000/000',
    '0/000.p/0',
    '0/000.p/256',
    '0/999',
    '7/000',
    'data/000',
  ]
  for (const path of [...wrong, `0/000.p/${size + 1}`]) {
    problemOf(await central.send('GET', `/tile/${path}`, { as: 'auditor' }), 404, 'NOT_FOUND')
  }
  problemOf(await central.send('GET', '/audit/events/9999999/proof', { as: 'auditor' }), 404, 'EVENT_NOT_FOUND')
})

test('evidence: any role reads it, nobody without a key, unless the log is public; a proof always wants a key', async () => {
  await checkpointOf(1)
  for (const path of [
    '/checkpoint',
    '/tile/0/000.p/1',
    '/checkpoint/consistency?from=0&to=1',
    '/evidence/keys',
    '/audit/events/1/proof',
  ]) {
    for (const as of ['admin', 'operator', 'auditor'] as const) {
      assert.equal((await central.send('GET', path, { as })).status, 200, `${path} ${as}`)
    }
    problemOf(await central.send('GET', path, { from: central.address() }), 401, 'UNAUTHORIZED')
  }
  const open = await startTestCentral({ EVC_LOG_PUBLIC: 'true' })
  try {
    await eventually(async () => (await open.send('GET', '/checkpoint')).status === 200)
    await eventually(async () => (await open.send('GET', '/tile/0/000.p/1')).status === 200)
    const answer = await open.send('GET', '/tile/entries/000.p/1')
    assert.equal(answer.headers.get('cache-control'), 'public, max-age=31536000, immutable')
    assert.match((await open.send('GET', '/evidence/keys')).text, /^\{"verifier":/)
    for (const path of ['/audit/events/1/proof', '/evidence', '/evidence/verification'])
      problemOf(await open.send('GET', path), 401, 'UNAUTHORIZED')
  } finally {
    await open.close()
  }
})

test('evidence: a row that is changed under the running service is an incident, readiness fails, nothing is signed any more', {
  skip: ONLY_SQLITE,
}, async () => {
  const own = await startTestCentral({ EVC_SELF_CHECK_PERCENT: '50' })
  try {
    for (let i = 0; i < 256; i++) await own.send('GET', '/audit/failures', { as: 'auditor' })
    await eventually(
      async () => Number((await own.send('GET', '/checkpoint', { as: 'auditor' })).text.split('\n')[1]) > 256,
    )
    own.changeRow(100)
    await eventually(async () => {
      const { checks } = (await own.send('GET', '/ready', { as: 'auditor' })).body
      const { ok, detail } = checks.find(({ name }: { name: string }) => name === 'checkpoint')
      return !ok && /^event 100: /.test(detail)
    })
    const found = async (): Promise<StoredEvent[]> =>
      (await own.send('GET', '/audit/events?reason_code=LOG_TAMPERED', { as: 'auditor' })).body.events
    await eventually(async () => (await found()).length > 0)
    assert.deepEqual(
      (await found()).map(({ action, severity, who, status_code }: StoredEvent) => [
        action,
        severity,
        who,
        status_code,
      ]),
      [['INCIDENT', 'CRITICAL', 'system', null]],
    )
    const range = 'start_time=2020-01-01T00:00:00Z&end_time=2100-01-01T00:00:00Z'
    const pack = await fetch(`${own.url}/audit/evidence?${range}`, { headers: { 'x-admin-key': own.keys.auditor } })
    const judged = await verifyEvidencePack(new Uint8Array(await pack.arrayBuffer()), { key: own.logKey() })
    assert.match(judged.sentence, /^Edited: event 100 is not what was logged\./)
    assert.equal(judged.findings.at(-1)?.verdict, 'UNSIGNED_SELECTION')
    const newest = async () => (await own.send('GET', '/checkpoint', { as: 'auditor' })).text
    const before = await newest()
    await new Promise(resolve => setTimeout(resolve, 2_500))
    assert.equal(await newest(), before)
  } finally {
    await own.close()
  }
})

test('evidence: without its private key the service is not ready at once, and is again when the key is back', {
  skip: ONLY_SQLITE,
}, async () => {
  const own = await startTestCentral()
  const checkpoint = async () => {
    const { checks } = (await own.send('GET', '/ready', { as: 'auditor' })).body
    return checks.find(({ name }: { name: string }) => name === 'checkpoint') as { ok: boolean; detail: string }
  }
  try {
    await eventually(async () => (await own.send('GET', '/checkpoint', { as: 'auditor' })).status === 200)
    await own.stop()
    const [folder, aside] = [join(own.dataDir, 'log-keys'), join(own.dataDir, 'aside')]
    renameSync(folder, aside)
    await own.start()
    await eventually(async () => !(await checkpoint()).ok)
    assert.match((await checkpoint()).detail, /^The keys of the log cannot be used/)
    rmSync(folder, { recursive: true, force: true })
    renameSync(aside, folder)
    await eventually(async () => (await checkpoint()).ok)
  } finally {
    await own.close()
  }
})
