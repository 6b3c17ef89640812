import assert from 'node:assert/strict'
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { formatCheckpoint, openCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { handOver, startKeyChain } from '../../../src/evidence/key-chain.ts'
import { formatNote, formatVerifierKey, parseNote, SIGNATURE_TYPE } from '../../../src/evidence/note.ts'
import { createSignature, createVerifier } from '../../../src/evidence/signature.ts'
import { formatAddCheckpoint, SIZE_MEDIA_TYPE } from '../../../src/evidence/witness-message.ts'
import { createWitnessedLog, numbered } from '../../harness/witnessed-log.ts'
import { createKey, type KeyUnderTest } from '../evidence/keys-under-test.ts'
import { cosignedAt, serve, temporaryFolder } from './witness-under-test.ts'

test('witness: cosigns a log as it grows, each time with the signature that the specification asks for', async t => {
  const log = createWitnessedLog()
  const nowMs = Date.UTC(2026, 0, 2)
  const served = await serve(t, temporaryFolder(t), [log], { name: 'witness.example/w1', clock: () => nowMs })
  assert.equal(served.witness.key.type, SIGNATURE_TYPE.ed25519Cosignature)
  let last = 0
  for (const size of [0, 1, 2, 3, 64, 65, 65]) {
    log.append(...numbered(size - log.size, log.size))
    const { status, type, body } = await served.post('/add-checkpoint', log.request(last, size))
    assert.equal(status, 200, body)
    assert.equal(type, 'text/plain; charset=utf-8')
    assert.match(body, /^\u2014 witness\.example\/w1 [A-Za-z0-9+/=]+\n$/)
    assert.equal(cosignedAt(body, log.checkpoint(size), served.witness.key), nowMs / 1_000)
    last = size
  }
})

test('witness: another old size is a conflict that says which one it is, before and after the first', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(20))
  const { post } = await serve(t, temporaryFolder(t), [log])
  const conflict = (body: string) => ({ status: 409, type: SIZE_MEDIA_TYPE, body })
  assert.deepEqual(await post('/add-checkpoint', log.request(5)), conflict('0\n'))
  assert.equal((await post('/add-checkpoint', log.request(0, 10))).status, 200)
  assert.deepEqual(await post('/add-checkpoint', log.request(0, 10)), conflict('10\n'))
  assert.deepEqual(await post('/add-checkpoint', log.request(9, 12)), conflict('10\n'))
  assert.deepEqual(await post('/add-checkpoint', log.request(0, 9)), conflict('10\n'), 'a rollback')
  assert.deepEqual(await post('/add-checkpoint', log.request(9, 9)), conflict('10\n'), 'a rollback')
  const larger = formatAddCheckpoint({ oldSize: 11, proof: [], checkpoint: log.checkpoint(10) })
  assert.equal((await post('/add-checkpoint', larger)).status, 400, 'larger than the checkpoint')
})

test('witness: a fork is refused, at the same size and beyond, and what the log signed is kept in the output once', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(10))
  const { post, output } = await serve(t, temporaryFolder(t), [log])
  await post('/add-checkpoint', log.request(0))
  const fork = log.fork(9)
  fork.append('something else')
  for (const _twice of [1, 2]) {
    const { status, type } = await post('/add-checkpoint', fork.request(10))
    assert.deepEqual([status, type], [409, 'text/plain; charset=utf-8'], 'no size, as it is the same')
  }
  const reports = output.filter(({ checkpoint }) => checkpoint === fork.checkpoint())
  assert.equal(reports.length, 1)
  assert.ok(String(reports[0]?.cosigned).startsWith(log.checkpoint()), 'both sides of it')

  fork.append(...numbered(5))
  log.append(...numbered(5, 10))
  assert.equal((await post('/add-checkpoint', fork.request(10))).status, 422)
  const proofs = [
    [],
    log.proof(10, 14),
    log.proof(9, 15),
    [...log.proof(10, 15), log.root(3)],
    log.proof(10, 15).reverse(),
  ]
  for (const proof of proofs) {
    const body = formatAddCheckpoint({ oldSize: 10, proof, checkpoint: log.checkpoint() })
    assert.equal((await post('/add-checkpoint', body)).status, 422)
  }
  const needless = formatAddCheckpoint({ oldSize: 10, proof: log.proof(9, 10), checkpoint: log.checkpoint(10) })
  assert.equal((await post('/add-checkpoint', needless)).status, 422, 'a proof where there is none')
  assert.equal((await post('/add-checkpoint', log.request(10))).status, 200, 'the true one goes on')
})

test('witness: a first proof has to be empty, and the empty tree has one root', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(4))
  const { post } = await serve(t, temporaryFolder(t), [log])
  const withProof = formatAddCheckpoint({ oldSize: 0, proof: log.proof(1, 4), checkpoint: log.checkpoint() })
  assert.equal((await post('/add-checkpoint', withProof)).status, 422)
  const { key, sign } = log.key
  const text = formatCheckpoint({ origin: key.name, size: 0, root: log.root(1), extensions: [] })
  const checkpoint = formatNote({ text, signatures: [createSignature(key, text, sign)] })
  assert.equal((await post('/add-checkpoint', formatAddCheckpoint({ oldSize: 0, proof: [], checkpoint }))).status, 409)
})

test('witness: unknown logs, unknown keys, wrong signatures and what is no request are told apart', async t => {
  const [log, other] = [createWitnessedLog(), createWitnessedLog('log.example/other')]
  for (const each of [log, other]) each.append(...numbered(3))
  const { post, get } = await serve(t, temporaryFolder(t), [log])
  const statusOf = async (body: string | Uint8Array<ArrayBuffer>) => (await post('/add-checkpoint', body)).status
  assert.equal(await statusOf(other.request(0)), 404)
  assert.equal(await statusOf(log.request(0, 3, createKey(log.key.key.name))), 403)
  const request = log.request(0)
  assert.equal(await statusOf(request.replace(/(\u2014 \S+ .{20})./, (_, start) => `${start}!`)), 400)
  const [line] = log.checkpoint(2).match(/^\u2014 .*\n$/m) ?? []
  assert.equal(await statusOf(request.replace(/^\u2014 .*\n$/m, line ?? '')), 403, 'the signature of another tree')
  for (const body of ['', '\n', 'old 0\n', request.slice(0, -1), `${request}\n`, request.replaceAll('\n', '\r\n')]) {
    assert.equal(await statusOf(body), 400, JSON.stringify(body.slice(0, 40)))
  }
  assert.equal(await statusOf(Uint8Array.of(0xff, 0xfe)), 400)
  assert.equal((await post('/add-checkpoint', request, { 'content-type': 'application/json' })).status, 200)
  assert.equal(await statusOf('x'.repeat(70_000)), 413)
  assert.equal((await get('/add-checkpoint')).status, 404)
  assert.equal((await post('/', request)).status, 404)
})

test('witness: signatures of keys it does not know are ignored, and not kept', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(3))
  const { post, get, witness } = await serve(t, temporaryFolder(t), [log])
  const stranger = createKey('stranger.example')
  const { text, signatures } = parseNote(log.checkpoint())!
  const checkpoint = formatNote({
    text,
    signatures: [createSignature(stranger.key, text, stranger.sign), ...signatures],
  })
  const { status, body } = await post('/add-checkpoint', formatAddCheckpoint({ oldSize: 0, proof: [], checkpoint }))
  assert.equal(status, 200)
  const { id } = witness.logs()[0]!
  assert.deepEqual(await get(`/${id}/checkpoint`), {
    status: 200,
    type: 'text/plain; charset=utf-8',
    body: log.checkpoint() + body,
  })
})

test('witness: requests at the same time are one after the other; of two trees of a size one is cosigned', async t => {
  let log = createWitnessedLog()
  const { post, witness } = await serve(t, temporaryFolder(t), [log])
  for (let size = 1; size <= 20; size++) {
    const fork = log.fork(size - 1)
    fork.append(`other ${size}`)
    log.append(`leaf ${size}`)
    const bodies = Array.from({ length: 6 }, (_, n) => (n % 2 === size % 2 ? log : fork).request(size - 1))
    const statuses = (await Promise.all(bodies.map(body => post('/add-checkpoint', body)))).map(({ status }) => status)
    assert.equal(statuses.filter(status => status === 200).length, 1)
    assert.equal(statuses.filter(status => status === 409).length, 5)
    if (Buffer.compare(witness.logs()[0]!.last!.root, log.root(size)) !== 0) log = fork
  }
})

test('witness: it says what it is, with its key, and gives what it cosigned last', async t => {
  const log = createWitnessedLog()
  log.append('a')
  const { get, post, witness } = await serve(t, temporaryFolder(t), [log])
  const { id } = witness.logs()[0]!
  assert.equal((await get(`/${id}/checkpoint`)).status, 404)
  await post('/add-checkpoint', log.request(0))
  const { status, body } = await get('/')
  assert.equal(status, 200)
  assert.ok(body.includes(`\nkey ${formatVerifierKey(witness.key)}\n`))
  assert.ok(body.includes(`\nlog log.example/ev-central\n  size 1\n  /${id}/checkpoint\n`))
  const { body: note } = await get(`/${id}/checkpoint`)
  const witnesses = [createVerifier(witness.key)]
  const opened = openCheckpoint(note, { origin: log.key.key.name, log: [createVerifier(log.key.key)], witnesses })
  assert.ok(opened.isTrusted && opened.cosignatures.length === 1)
})

test('witness: its time does not go back, and one asked in a loop writes once a second', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(2))
  const folder = temporaryFolder(t)
  let nowMs = Date.UTC(2026, 0, 2)
  const { post, output } = await serve(t, folder, [log], { clock: () => nowMs })
  const first = await post('/add-checkpoint', log.request(0))
  const written = statSync(join(folder, 'state')).ino
  nowMs += 999
  assert.deepEqual(await post('/add-checkpoint', log.request(2)), first)
  assert.equal(statSync(join(folder, 'state')).ino, written, 'not written again')
  nowMs += 1
  const second = await post('/add-checkpoint', log.request(2))
  assert.notEqual(second.body, first.body)
  nowMs -= 1_000
  log.append('more')
  assert.equal((await post('/add-checkpoint', log.request(2))).status, 503)
  assert.ok(output.some(({ msg }) => String(msg).includes('the clock is behind')))
  nowMs += 1_000
  assert.equal((await post('/add-checkpoint', log.request(2))).status, 200)
})

test('witness: what it cosigned, its key and its name outlive a restart; its files are private', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(7))
  const folder = temporaryFolder(t)
  const first = await serve(t, folder, [log])
  assert.match(first.witness.key.name, /^ev-central-witness\/[0-9a-f]{16}$/)
  await first.post('/add-checkpoint', log.request(0))
  await first.stop()
  for (const name of ['key.pem', 'state', 'lock.db']) assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600)
  assert.equal(statSync(folder).mode & 0o777, 0o700)
  const second = await serve(t, folder, [log], { name: first.witness.key.name })
  assert.deepEqual(second.witness.key, first.witness.key)
  assert.equal((await second.post('/add-checkpoint', log.request(0))).body, '7\n')
  await second.stop()
  const other = await serve(t, folder, [createWitnessedLog('log.example/other')])
  assert.equal((await other.post('/add-checkpoint', log.request(7))).status, 404, 'not followed now')
  await other.stop()
  const third = await serve(t, folder, [log])
  assert.equal((await third.post('/add-checkpoint', log.request(0))).body, '7\n', 'and yet not forgotten')
  await third.stop()
  await assert.rejects(serve(t, folder, [log], { name: 'another' }), {
    code: 'VALIDATION_FAILED',
    message: /another name/,
  })
})

test('witness: a second one on the same folder is refused', async t => {
  const folder = temporaryFolder(t)
  const first = await serve(t, folder, [createWitnessedLog()])
  await assert.rejects(serve(t, folder, [createWitnessedLog()]), {
    code: 'DATA_FOLDER_IN_USE',
    message: /^Another witness/,
  })
  await first.stop()
  await (await serve(t, folder, [createWitnessedLog()])).stop()
})

test('witness: a state that is damaged, gone or of another key stops it; it never begins anew', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(7))
  const folder = temporaryFolder(t)
  const { post, stop } = await serve(t, folder, [log])
  await post('/add-checkpoint', log.request(0))
  await stop()
  const files = { state: join(folder, 'state'), key: join(folder, 'key.pem') }
  const [state, key] = [readFileSync(files.state, 'utf8'), readFileSync(files.key, 'utf8')]
  const refused = (message: RegExp) =>
    assert.rejects(serve(t, folder, [log]), { code: 'WITNESS_STATE_DAMAGED', message }, String(message))

  for (let at = 0; at < state.length; at += 7) {
    const changed = state[at] === 'A' ? 'B' : 'A'
    writeFileSync(files.state, state.slice(0, at) + changed + state.slice(at + 1))
    await refused(/state is damaged|is not the key of/)
  }
  for (const text of ['', '{}', '[]\n', 'null\n', state.slice(0, -1), state.slice(0, state.length / 2), `${state}\n`]) {
    writeFileSync(files.state, text)
    await refused(/state is damaged/)
  }
  const withoutLogs = state.replace(/"logs":\[.*\]/, '"logs":[]')
  assert.notEqual(withoutLogs, state)
  rmSync(files.state)
  await refused(/state is gone/)
  writeFileSync(files.state, state)
  rmSync(files.key)
  await refused(/key\.pem is gone/)
  writeFileSync(files.key, 'no key')
  await refused(/cannot be read as a private key/)
  const other = temporaryFolder(t)
  await (await serve(t, other, [log])).stop()
  writeFileSync(files.key, readFileSync(join(other, 'key.pem')))
  await refused(/is not the key of/)
  writeFileSync(files.key, key)
  const again = await serve(t, folder, [log])
  assert.equal((await again.post('/add-checkpoint', log.request(0))).body, '7\n')
})

test('witness: a new key of the log counts once its hand-over was shown, and the old one no more beyond it', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(30))
  const folder = temporaryFolder(t)
  const { post, stop } = await serve(t, folder, [log])
  await post('/add-checkpoint', log.request(0, 10))
  const { note, next } = log.rotate(12)
  assert.equal((await post('/add-checkpoint', log.request(10, 20, next))).status, 403, 'not shown yet')
  assert.deepEqual(
    await Promise.all([note, note].map(async body => (await post('/add-hand-over', body)).status)),
    [200, 200],
    'twice is the same as once',
  )
  assert.equal((await post('/add-checkpoint', log.request(10, 20))).status, 403, 'the old key, beyond its size')
  assert.equal((await post('/add-checkpoint', log.request(10, 12, next))).status, 403, 'the new key, before its size')
  assert.equal((await post('/add-checkpoint', log.request(10, 12))).status, 200)
  assert.equal((await post('/add-checkpoint', log.request(12, 20, next))).status, 200)
  await stop()
  const again = await serve(t, folder, [log])
  assert.equal((await again.post('/add-checkpoint', log.request(20, 25))).status, 403)
  assert.equal((await again.post('/add-checkpoint', log.request(20, 25, next))).status, 200)
  await again.stop()
  const byNext = { ...log, verifierKey: formatVerifierKey(next.key) }
  await (await serve(t, folder, [byNext])).stop()
  const stranger = { ...log, verifierKey: formatVerifierKey(createKey(log.key.key.name).key) }
  await assert.rejects(serve(t, folder, [stranger]), { code: 'VALIDATION_FAILED', message: /by other keys/ })
})

test('witness: a hand-over that is not one, not of its key, a second one, or one that takes back is refused', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(30))
  const { post } = await serve(t, temporaryFolder(t), [log])
  await post('/add-checkpoint', log.request(0, 10))
  const statusOf = async (note: string) => (await post('/add-hand-over', note)).status
  const { note, next } = log.rotate(10)
  assert.equal(await statusOf(''), 400)
  assert.equal(await statusOf(log.checkpoint()), 400)
  assert.equal(await statusOf(note.replace('\n10\n', '\n11\n')), 400, 'changed')
  const bySelf = note.replace(/^\u2014 .*\n/m, '')
  assert.equal(await statusOf(bySelf), 400, 'signed by the new key alone')
  const { text, signatures } = parseNote(note)!
  const padded = formatNote({
    text,
    signatures: [...signatures, createSignature(createKey('a').key, text, log.key.sign)],
  })
  assert.equal(await statusOf(padded), 400, 'lines that nobody asked for')
  assert.equal(await statusOf(createWitnessedLog('log.example/other').rotate(10).note), 404)
  assert.equal(await statusOf(createWitnessedLog().rotate(10).note), 403, 'from a key that is not known')
  assert.deepEqual(await post('/add-hand-over', log.rotate(9).note), {
    status: 409,
    type: SIZE_MEDIA_TYPE,
    body: '10\n',
  })
  assert.equal(await statusOf(note), 200)
  assert.equal(await statusOf(log.rotate(10).note), 403, 'the old key has handed over already')
  assert.equal(await statusOf(log.rotate(20, next).note), 200, 'the new key hands over in its turn')
})

test('witness: follows a log to two keys, cosigns only what both signed, and goes on to the next two', async t => {
  const log = createWitnessedLog()
  log.append(...numbered(40))
  const name = log.key.key.name
  const pair = () => [createKey(name), createKey(name, SIGNATURE_TYPE.mlDsa44Cosignature)]
  const [a, b] = [pair(), pair()]
  const announced = handOver(startKeyChain(log.key.key), 10, [log.key], a)
  const chain = handOver(announced, 20, a, b)
  const request = (from: number, to: number, signers: readonly KeyUnderTest[]) => {
    const { text } = parseNote(log.checkpoint(to)) ?? assert.fail()
    const signatures = signers.map(({ key, sign }) => createSignature(key, text, sign, 1))
    const checkpoint = formatNote({ text, signatures })
    return formatAddCheckpoint({ oldSize: from, proof: log.proof(from, to), checkpoint })
  }
  const [folder, other] = [temporaryFolder(t), temporaryFolder(t)]
  const served = await serve(t, folder, [log])
  await served.post('/add-checkpoint', log.request(0, 10))
  const statusOf = async (path: string, body: string) => (await served.post(path, body)).status
  const [on = '', next = ''] = chain.handOvers.map(({ note }) => note)
  assert.equal(await statusOf('/add-hand-over', next), 403, 'the one before it was not shown')
  assert.equal(await statusOf('/add-hand-over', on.replace(/\u2014 .*\n$/, '')), 400, 'one signature is missing')
  assert.equal(await statusOf('/add-hand-over', `${on}${on.split('\n').at(-2)}\n`), 400, 'one is there twice')
  assert.equal(await statusOf('/add-hand-over', on), 200)
  for (const signer of a) assert.equal(await statusOf('/add-checkpoint', request(10, 15, [signer])), 403)
  assert.equal(await statusOf('/add-checkpoint', request(10, 15, [...a, ...a])), 200)
  const kept = parseNote(served.witness.logs()[0]?.last?.note ?? '') ?? assert.fail()
  assert.equal(kept.signatures.length, 3, 'one of each key, and its own')
  assert.equal(await statusOf('/add-hand-over', next), 200)
  await served.stop()
  const again = await serve(t, folder, [log])
  assert.equal((await again.post('/add-checkpoint', request(15, 30, b))).status, 200)

  const byMiddle = await serve(t, other, [{ ...log, verifierKey: formatVerifierKey(a[0]!.key) }])
  assert.equal((await byMiddle.post('/add-checkpoint', request(0, 15, a))).status, 200, 'it knows only one of them')
  assert.equal((await byMiddle.post('/add-hand-over', next)).status, 200)
  assert.equal((await byMiddle.post('/add-checkpoint', request(15, 30, [b[0]!]))).status, 403)
  assert.equal((await byMiddle.post('/add-checkpoint', request(15, 30, b))).status, 200)
})
