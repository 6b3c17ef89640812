/** The log's side, against real witnesses over real HTTP, and against servers that answer wrongly. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import test, { type TestContext } from 'node:test'
import { parseCheckpoint } from '../../../src/evidence/checkpoint.ts'
import {
  formatSignatureLine,
  parseNote,
  SIGNATURE_TYPE,
  type VerifierKey,
  verifyNote,
} from '../../../src/evidence/note.ts'
import { createSignature, createVerifier } from '../../../src/evidence/signature.ts'
import { parseAddCheckpoint, SIZE_MEDIA_TYPE } from '../../../src/evidence/witness-message.ts'
import { createWitnessClient, type WitnessClient, type WitnessFault } from '../../../src/witness/client.ts'
import { createWitnessedLog, numbered, type WitnessedLog } from '../../harness/witnessed-log.ts'
import { createKey, type KeyUnderTest } from '../evidence/keys-under-test.ts'
import { serve, temporaryFolder } from './witness-under-test.ts'

const QUICK = { attemptMsMax: 2_000, retryMsMin: 5, retryMsMax: 20 }
const NEVER_AGAIN = { attemptMsMax: 2_000, retryMsMin: 60_000, retryMsMax: 60_000 }

type Options = Partial<Parameters<typeof createWitnessClient>[0]>

interface ClientUnderTest extends WitnessClient {
  readonly notes: string[]
}

function createClient(
  t: TestContext,
  log: WitnessedLog,
  witnesses: readonly { readonly url: string; readonly key: VerifierKey }[],
  options: Options = {},
): ClientUnderTest {
  const client = createWitnessClient({
    witnesses,
    quorum: witnesses.length,
    readProof: log.proof,
    timing: QUICK,
    ...options,
  })
  const notes: string[] = []
  client.onCosigned(note => void notes.push(note))
  t.after(() => client.close())
  return { ...client, notes }
}

const targetOf = ({ url, witness }: Awaited<ReturnType<typeof serve>>) => ({ url, key: witness.key })

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(resolve => setTimeout(resolve, 2))
}

const signersOf = (note: string, keys: readonly VerifierKey[]) => {
  const verdict = verifyNote(parseNote(note)!, keys.map(createVerifier))
  return verdict.isSigned ? verdict.signatures.map(({ key }) => key.name) : verdict.reason
}

test('witness client: cosignatures of all witnesses are merged into the note as they come', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(5))
  const served = await Promise.all(
    ['a', 'b', 'c'].map(name => serve(t, temporaryFolder(t), [log], { name: `${name}.example` })),
  )
  const client = createClient(t, log, served.map(targetOf))
  assert.equal(client.status().isSatisfied, true, 'there is nothing to cosign yet')
  client.submit(log.checkpoint())
  assert.equal(client.status().isSatisfied, false)
  await until(() => client.status().isSatisfied)
  const keys = [log.key.key, ...served.map(({ witness }) => witness.key)]
  assert.deepEqual(
    client.notes.map(note => parseNote(note)?.signatures.length),
    [2, 3, 4],
  )
  const merged = client.notes.at(-1) as string
  assert.deepEqual(signersOf(merged, keys)?.toString().split(',').sort(), [
    'a.example',
    'b.example',
    'c.example',
    'log.example/ev-central',
  ])
  assert.ok(merged.startsWith(log.checkpoint()), 'the signature of the log stays first')

  log.append(...numbered(300, 5))
  client.submit(log.checkpoint())
  await until(() => client.status().isSatisfied)
  const { size, cosignedSize, waitingMs, witnesses } = client.status()
  assert.deepEqual([size, cosignedSize, waitingMs], [305, 305, 0])
  for (const lag of witnesses) {
    assert.deepEqual([lag.cosignedSize, lag.lastFault, lag.failures], [305, undefined, 0])
    assert.ok(Math.abs(Number(lag.cosignedAt) * 1_000 - Date.now()) < 60_000)
  }
})

test('witness client: it asks a witness where it is when it does not know, and goes on from there', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(100))
  const served = await serve(t, temporaryFolder(t), [log])
  await served.post('/add-checkpoint', log.request(0, 77))
  const asked: [number, number][] = []
  const readProof = async (from: number, to: number) => {
    asked.push([from, to])
    return log.proof(from, to)
  }
  const client = createClient(t, log, [targetOf(served)], { readProof })
  client.submit(log.checkpoint(90))
  await until(() => client.status().isSatisfied)
  client.submit(log.checkpoint(100))
  await until(() => client.status().cosignedSize === 100)
  assert.deepEqual(asked, [
    [77, 90],
    [90, 100],
  ])

  const again = createClient(t, log, [targetOf(served)], { readProof })
  again.submit(log.checkpoint(100))
  await until(() => again.status().isSatisfied)
  assert.equal(asked.length, 2, 'at the same size there is no proof')
})

test('witness client: a checkpoint that has its cosignatures already, as after a restart, is not sent', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(3))
  const served = await serve(t, temporaryFolder(t), [log])
  const first = createClient(t, log, [targetOf(served)])
  first.submit(log.checkpoint())
  await until(() => first.notes.length === 1)
  const again = createClient(t, log, [targetOf(served)], { fetch: () => assert.fail('nothing is to be sent') })
  again.submit(first.notes[0] as string)
  assert.equal(again.status().isSatisfied, true)
  assert.deepEqual(again.status().witnesses, first.status().witnesses)

  const broken = first.notes[0]!.replace(/.{8}\n$/, 'AAAAAAA=\n')
  const third = createClient(t, log, [targetOf(served)])
  third.submit(broken)
  await until(() => third.status().isSatisfied)
  assert.ok(Array.isArray(signersOf(third.notes[0]!, [log.key.key, served.witness.key])), 'the wrong line is gone')
})

test('witness client: k of n are enough, and a witness that is away does not keep the others waiting', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(3))
  const served = await Promise.all([1, 2].map(() => serve(t, temporaryFolder(t), [log])))
  const away = { url: 'http://127.0.0.1:1', key: createKey('away.example', SIGNATURE_TYPE.ed25519Cosignature).key }
  const client = createClient(t, log, [away, ...served.map(targetOf)], { quorum: 2, timing: NEVER_AGAIN })
  client.submit(log.checkpoint())
  await until(() => client.status().isSatisfied)
  for (let size = 4; size < 10; size++) {
    log.append(`leaf ${size}`)
    client.submit(log.checkpoint())
    await until(() => client.status().isSatisfied)
  }
  const [lag] = client.status().witnesses
  assert.deepEqual([lag?.cosignedSize, lag?.lastFault, lag?.failures], [0, 'unreachable', 1], 'it rests')

  const all = createClient(t, log, [away, ...served.map(targetOf)], { quorum: 3, timing: NEVER_AGAIN })
  all.submit(log.checkpoint())
  await until(() => all.notes.length === 2)
  assert.equal(all.status().isSatisfied, false)
  assert.ok(all.status().waitingMs > 0)
  const none = createClient(t, log, [away], { quorum: 0, timing: NEVER_AGAIN })
  none.submit(log.checkpoint())
  assert.equal(none.status().isSatisfied, true, 'not waited for')
})

test('witness client: a witness that comes back is asked again by itself, with the newest checkpoint', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(3))
  const folder = temporaryFolder(t)
  const before = await serve(t, folder, [log])
  const { key } = before.witness
  await before.stop()
  let url = before.url
  const client = createClient(t, log, [{ url: 'http://witness.invalid', key }], {
    fetch: (input, init) => fetch(String(input).replace('http://witness.invalid', url), init),
  })
  client.submit(log.checkpoint())
  await until(() => client.status().witnesses[0]!.failures >= 3)
  assert.equal(client.status().witnesses[0]?.lastFault, 'unreachable')
  log.append('one more')
  client.submit(log.checkpoint())
  url = (await serve(t, folder, [log])).url
  await until(() => client.status().isSatisfied)
  assert.deepEqual([client.status().cosignedSize, client.status().witnesses[0]?.failures], [4, 0])
})

test('witness client: submitting never waits; one request is on its way to a witness, and older checkpoints are skipped', async t => {
  const log = createWitnessedLog()
  const key = createKey('slow.example', SIGNATURE_TYPE.ed25519Cosignature)
  const sizes: number[] = []
  let inFlight = 0
  let inFlightMost = 0
  let release = () => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  const url = await listen(t, (request, response) => {
    inFlightMost = Math.max(inFlightMost, ++inFlight)
    readBody(request).then(async body => {
      const { checkpoint } = parseAddCheckpoint(body)!
      sizes.push(sizeOf(checkpoint))
      await held
      inFlight--
      response.end(cosign(key, checkpoint))
    })
  })
  const client = createClient(t, log, [{ url, key: key.key }])
  for (let size = 1; size <= 50; size++) {
    log.append(`leaf ${size}`)
    client.submit(log.checkpoint())
    if (size === 1) await until(() => sizes.length === 1)
  }
  client.submit(log.checkpoint(20))
  assert.deepEqual([client.status().size, client.status().cosignedSize], [50, 0])
  release()
  await until(() => client.status().isSatisfied)
  assert.deepEqual([sizes, inFlightMost], [[1, 50], 1])
  assert.deepEqual(client.notes.map(sizeOf), [1, 50])
})

test('witness client: after a rotation it shows the hand-over, and is cosigned', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(9))
  const served = await serve(t, temporaryFolder(t), [log])
  const { note, next } = log.rotate(4)
  const client = createClient(t, log, [targetOf(served)], { readHandOvers: () => [note] })
  client.submit(log.checkpoint(4))
  await until(() => client.status().isSatisfied)
  client.submit(log.checkpoint(9, next))
  await until(() => client.status().isSatisfied)
  assert.equal(served.witness.logs()[0]?.last?.size, 9)

  const without = createClient(t, log, [targetOf(served)], { timing: NEVER_AGAIN })
  log.append('more')
  without.submit(log.checkpoint(10))
  await until(() => without.status().witnesses[0]!.failures === 1)
  assert.equal(without.status().witnesses[0]?.lastFault, 'unknown-keys')
})

test('witness client: what a witness does wrong is named, counted, and never becomes a cosignature', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(9))
  const key = createKey('odd.example', SIGNATURE_TYPE.ed25519Cosignature)
  const stranger = createKey('odd.example', SIGNATURE_TYPE.ed25519Cosignature)
  const size = (value: string) => ({ status: 409, type: SIZE_MEDIA_TYPE, body: value })
  const later = Math.floor(Date.now() / 1_000) + 3_600
  const { text } = parseNote(log.checkpoint())!
  const wrong = createSignature(key.key, `${text}more\n`, key.sign, 1)
  const untimed = { ...createSignature(key.key, text, key.sign, 1), bytes: new Uint8Array(64) }
  const cases: [WitnessFault, { status?: number; type?: string; body?: string }][] = [
    ['unknown-log', { status: 404 }],
    ['unknown-keys', { status: 403 }],
    ['malformed', { status: 400 }],
    ['wrong-proof', { status: 422 }],
    ['forked', { status: 409 }],
    ['ahead', size('10\n')],
    ['unexpected', size('0\n')],
    ['unexpected', size('nine\n')],
    ['unexpected', { status: 500 }],
    ['unexpected', { status: 302 }],
    ['unexpected', { body: '' }],
    ['unexpected', { body: 'x'.repeat(1_000_000) }],
    ['wrong-cosignature', { body: cosign(stranger, log.checkpoint()) }],
    ['wrong-cosignature', { body: cosign(key, log.checkpoint(8)) }],
    ['wrong-cosignature', { body: formatSignatureLine(wrong) }],
    ['wrong-cosignature', { body: formatSignatureLine(untimed) }],
    ['wrong-cosignature', { body: cosign(log.key, log.checkpoint()) }],
    ['time-ahead', { body: cosign(key, log.checkpoint(), later) }],
  ]
  for (const [fault, { status = 200, type = 'text/plain', body = '' }] of cases) {
    const url = await listen(t, (_request, response) => response.writeHead(status, { 'content-type': type }).end(body))
    const client = createClient(t, log, [{ url, key: key.key }], { timing: NEVER_AGAIN })
    client.submit(log.checkpoint())
    await until(() => client.status().witnesses[0]!.failures === 1)
    const lag = client.status().witnesses[0]
    assert.deepEqual([lag?.lastFault, lag?.cosignedSize, client.notes.length], [fault, 0, 0], `${status} ${type}`)
    assert.equal(client.status().isSatisfied, false)
  }
})

test('witness client: lines of others in an answer are ignored', async t => {
  const log = createWitnessedLog()
  log.append('a')
  const [key, other] = ['odd.example', 'other.example'].map(name => createKey(name, SIGNATURE_TYPE.ed25519Cosignature))
  const url = await listen(t, (_request, response) =>
    response.end(cosign(other!, log.checkpoint()) + cosign(key!, log.checkpoint())),
  )
  const client = createClient(t, log, [{ url, key: key!.key }])
  client.submit(log.checkpoint())
  await until(() => client.status().isSatisfied)
  assert.deepEqual(
    parseNote(client.notes[0]!)?.signatures.map(({ name }) => name),
    [log.key.key.name, 'odd.example'],
  )
})

test('witness client: an answer that does not come, and a proof that cannot be made, end the attempt', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(5))
  const { key } = createKey('silent.example', SIGNATURE_TYPE.ed25519Cosignature)
  const silent = await listen(t, () => {})
  const behind = await listen(t, (_request, response) =>
    response.writeHead(409, { 'content-type': SIZE_MEDIA_TYPE }).end('2\n'),
  )
  const timing = { ...NEVER_AGAIN, attemptMsMax: 50 }
  const client = createClient(t, log, [{ url: silent, key }], { timing })
  client.submit(log.checkpoint())
  await until(() => client.status().witnesses[0]?.lastFault === 'timeout')
  const readProof = () => Promise.reject(new Error('the disk is on fire'))
  const other = createClient(t, log, [{ url: behind, key }], { timing: NEVER_AGAIN, readProof })
  other.submit(log.checkpoint())
  await until(() => other.status().witnesses[0]?.lastFault === 'no-proof')
})

test('witness client: failures follow each other at growing distances, and a new checkpoint does not shorten them', async t => {
  const log = createWitnessedLog()
  const { key } = createKey('busy.example', SIGNATURE_TYPE.ed25519Cosignature)
  const at: number[] = []
  const url = await listen(t, (_request, response) => {
    at.push(performance.now())
    response.writeHead(500).end()
  })
  const client = createClient(t, log, [{ url, key }], {
    timing: { attemptMsMax: 2_000, retryMsMin: 20, retryMsMax: 40 },
  })
  while (at.length < 5) {
    log.append('another')
    client.submit(log.checkpoint())
    await new Promise(resolve => setTimeout(resolve, 1))
  }
  const gaps = at.slice(1).map((time, n) => time - (at[n] as number))
  for (const [n, gap] of gaps.entries()) assert.ok(gap >= (n === 0 ? 10 : 20) - 1, `${gaps}`)
})

test('witness client: closing ends what is on its way, and nothing is told afterwards', async t => {
  const log = createWitnessedLog()
  log.append('a')
  let asked = 0
  const url = await listen(t, () => {
    asked++
  })
  const client = createClient(t, log, [{ url, key: createKey('w', SIGNATURE_TYPE.ed25519Cosignature).key }])
  client.submit(log.checkpoint())
  await until(() => asked === 1)
  await client.close()
  log.append('b')
  client.submit(log.checkpoint())
  assert.deepEqual([asked, client.notes, client.status().witnesses[0]?.failures], [1, [], 0])
  assert.throws(() => client.submit('no checkpoint'), RangeError)
})

async function listen(t: TestContext, handler: RequestListener): Promise<string> {
  const server = createServer(handler).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function readBody(request: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece)
  return Buffer.concat(pieces).toString()
}

const sizeOf = (note: string) => parseCheckpoint(parseNote(note)?.text ?? '')?.size ?? -1

function cosign({ key, sign }: Pick<KeyUnderTest, 'key' | 'sign'>, checkpoint: string, time?: number): string {
  const { text } = parseNote(checkpoint)!
  return formatSignatureLine(createSignature(key, text, sign, time ?? Math.floor(Date.now() / 1_000)))
}

test('witness client: whoever stops waits for the quorum, not for whoever rests, and not for long', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(3))
  const served = await serve(t, temporaryFolder(t), [log])
  const none = createClient(t, log, [])
  none.submit(log.checkpoint())
  await none.settled(60_000)
  const client = createClient(t, log, [targetOf(served)])
  await client.settled(60_000) // nothing was signed yet
  client.submit(log.checkpoint())
  await client.settled(60_000)
  assert.equal(client.status().isSatisfied, true)

  const away = { url: 'http://127.0.0.1:1', key: createKey('away.example', SIGNATURE_TYPE.ed25519Cosignature).key }
  const resting = createClient(t, log, [away, targetOf(served)], { quorum: 2, timing: NEVER_AGAIN })
  resting.submit(log.checkpoint())
  await resting.settled(20_000) // ends when the first has failed and rests for longer
  assert.equal(resting.status().isSatisfied, false)

  const silent = createClient(t, log, [targetOf(served)], {
    fetch: (_input, init) =>
      new Promise((_resolve, reject) => init?.signal?.addEventListener('abort', () => reject(new Error('aborted')))),
  })
  silent.submit(log.checkpoint())
  const started = performance.now()
  await silent.settled(50)
  assert.ok(performance.now() - started >= 49)
  assert.equal(silent.status().isSatisfied, false)
})
