/** The engine over sources in memory, without Node: what is signed, by whom, and what an auditor brings along. */
import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { formatCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { encodeText } from '../../../src/evidence/encoding.ts'
import { openByChain, parseKeyChain } from '../../../src/evidence/key-chain.ts'
import { formatLeaf } from '../../../src/evidence/leaf.ts'
import type { Hash } from '../../../src/evidence/merkle.ts'
import { formatNote, formatVerifierKey, parseNote, SIGNATURE_TYPE } from '../../../src/evidence/note.ts'
import { createSignature, noteKeyOf } from '../../../src/evidence/signature.ts'
import { type Trust, verify } from '../../../src/verify/browser.ts'
import { sampleEvent } from '../../contract/event-store.ts'
import { createKey, type KeyUnderTest } from '../evidence/keys-under-test.ts'
import { createLog, type LogUnderTest } from '../evidence/log-under-test.ts'
import { memorySource } from './memory-source.ts'

const ORIGIN = 'log.example/ev-central'
const CREATED_AT = '2026-06-01T00:00:00.000Z'

function leaves(count: number, first = 1): Uint8Array[] {
  const commitment = new Uint8Array(32).fill(7)
  return Array.from({ length: count }, (_, n) =>
    formatLeaf({ ...sampleEvent(first + n), id: first + n, created_at: CREATED_AT }, commitment),
  )
}

function signCheckpoint(size: number, root: Hash, signers: readonly KeyUnderTest[], origin = ORIGIN): string {
  const text = formatCheckpoint({ origin, size, root, extensions: [] })
  return formatNote({
    text,
    signatures: signers.map(({ key, sign }) => createSignature(key, text, sign, 1_780_000_000)),
  })
}

type Keys = KeyUnderTest | readonly KeyUnderTest[]

function handOver(size: number, old: Keys, next: Keys, signers = [old, next].flat()): string {
  const line = (keys: Keys) => [keys].flat().map(keyOf).join(' ')
  const text = `ev-central key hand-over v1\n${ORIGIN}\n${size}\n${line(old)}\n${line(next)}\n`
  return formatNote({ text, signatures: signers.map(({ key, sign }) => createSignature(noteKeyOf(key), text, sign)) })
}

const chainOf = (first: KeyUnderTest, ...notes: string[]) =>
  [{ verifier: formatVerifierKey(first.key) }, ...notes.map(note => ({ hand_over: note }))]
    .map(line => `${JSON.stringify(line)}\n`)
    .join('')

const historyOf = (...signed: string[]) => signed.map(text => `${JSON.stringify(text)}\n`).join('')

interface Parts {
  readonly log: LogUnderTest
  readonly signers?: readonly KeyUnderTest[]
  readonly history?: string
  readonly witnessed?: string
  readonly keys?: string
  readonly checkpoint?: string | undefined
}

function judge({ log, signers = [], history, witnessed, keys, checkpoint }: Parts, trust: Trust) {
  const signed = checkpoint ?? signCheckpoint(log.tree.size, log.tree.root(), signers)
  return verify(memorySource(log, { checkpoint: signed, witnessed, history, keys }), trust)
}

const keyOf = ({ key }: KeyUnderTest) => formatVerifierKey(key)

for (const size of [0, 1, 2, 255, 256, 257, 1_000]) {
  test(`verify: a log of ${size} leaves that nobody changed is pristine`, async () => {
    const key = createKey(ORIGIN)
    const log = createLog(leaves(size))
    const report = await judge({ log, signers: [key] }, { key: keyOf(key) })
    assert.deepEqual([report.verdict, report.exit, report.size, report.signed_size], ['PRISTINE', 0, size, size])
    assert.deepEqual(report.notes, [])
  })
}

test('verify: without a key it believes the one beside the log, and says so; without any it decides nothing', async () => {
  const key = createKey(ORIGIN)
  const log = createLog(leaves(10))
  const own = await judge({ log, signers: [key], keys: chainOf(key) }, {})
  assert.equal(own.verdict, 'PRISTINE')
  assert.match(own.notes.join(), /no --key was given/)
  assert.equal((await judge({ log, signers: [key] }, {})).verdict, 'UNVERIFIABLE')
})

test('verify: a key that is not in the chain, another origin and a stranger are wrong keys', async () => {
  const [key, stranger] = [createKey(ORIGIN), createKey(ORIGIN)]
  const log = createLog(leaves(10))
  const verdict = async (parts: Omit<Parts, 'log'>, trust: Trust) => (await judge({ log, ...parts }, trust)).verdict
  assert.equal(await verdict({ signers: [key], keys: chainOf(key) }, { key: keyOf(stranger) }), 'WRONG_KEY')
  assert.equal(await verdict({ signers: [stranger] }, { key: keyOf(key) }), 'WRONG_KEY')
  const elsewhere = createKey('other.example')
  const checkpoint = signCheckpoint(10, log.tree.root(), [elsewhere], 'other.example')
  assert.equal(await verdict({ checkpoint }, { key: keyOf(key) }), 'WRONG_KEY')
})

test('verify: follows the key chain from its first key, and from its last', async () => {
  const [first, second] = [createKey(ORIGIN), createKey(ORIGIN)]
  const log = createLog(leaves(10))
  const early = signCheckpoint(10, log.tree.root(), [first])
  log.append(leaves(10, 11))
  const keys = chainOf(first, handOver(10, first, second))
  for (const key of [first, second]) {
    const report = await judge({ log, signers: [second], keys, history: historyOf(early) }, { key: keyOf(key) })
    assert.equal(report.verdict, 'PRISTINE', report.sentence)
    assert.equal(report.checkpoints, 2)
  }
})

test('verify: a retired key signs nothing beyond its end', async () => {
  const [first, second] = [createKey(ORIGIN), createKey(ORIGIN)]
  const log = createLog(leaves(20))
  const keys = chainOf(first, handOver(10, first, second))
  const report = await judge({ log, signers: [first], keys }, { key: keyOf(first) })
  assert.equal(report.verdict, 'REVOKED_KEY')
  assert.deepEqual(report.findings[0]?.at, { size: 20 })
})

test('verify: a hand-over needs both signatures', async () => {
  const [first, second] = [createKey(ORIGIN), createKey(ORIGIN)]
  const log = createLog(leaves(20))
  for (const signer of [first, second]) {
    const keys = chainOf(first, handOver(10, first, second, [signer]))
    assert.equal((await judge({ log, signers: [second], keys }, { key: keyOf(first) })).verdict, 'WRONG_KEY')
  }
})

test('verify: a checkpoint known from before must be a beginning of the log', async () => {
  const key = createKey(ORIGIN)
  const log = createLog(leaves(100))
  const trusted = signCheckpoint(100, log.tree.root(), [key])
  log.append(leaves(200, 101))
  assert.equal((await judge({ log, signers: [key] }, { key: keyOf(key), trusted })).verdict, 'PRISTINE')

  const shorter = createLog(leaves(90))
  const behind = await judge({ log: shorter, signers: [key] }, { key: keyOf(key), trusted })
  assert.deepEqual([behind.verdict, behind.findings[0]?.at], ['ROLLED_BACK', { size: 100 }])

  const forked = createLog(leaves(300).with(3, leaves(1, 99)[0]!))
  const report = await judge({ log: forked, signers: [key] }, { key: keyOf(key), trusted })
  assert.deepEqual(report.findings.find(({ verdict }) => verdict === 'FORKED')?.at, { size: 100 })
})

test('verify: every checkpoint of the history must be a beginning of the log', async () => {
  const key = createKey(ORIGIN)
  const log = createLog(leaves(100))
  const history = historyOf(signCheckpoint(50, new Uint8Array(32), [key]))
  const report = await judge({ log, signers: [key], history }, { key: keyOf(key) })
  assert.deepEqual([report.verdict, report.findings[0]?.at], ['FORKED', { size: 50 }])
})

test('verify: a last line of the history that a crash has cut is no fault', async () => {
  const key = createKey(ORIGIN)
  const log = createLog(leaves(100))
  const history = `${historyOf(signCheckpoint(100, log.tree.root(), [key]))}"log.exa`
  assert.equal((await judge({ log, signers: [key], history }, { key: keyOf(key) })).verdict, 'PRISTINE')
})

test('verify: so many of the witnesses must have signed as are wanted', async () => {
  const key = createKey(ORIGIN)
  const log = createLog(leaves(10))
  const [one, two, three] = ['one', 'two', 'three'].map(name => createKey(name, SIGNATURE_TYPE.ed25519Cosignature)) as [
    KeyUnderTest,
    KeyUnderTest,
    KeyUnderTest,
  ]
  const witnesses = [one, two, three].map(keyOf)
  const verdict = async (quorum?: number) =>
    (await judge({ log, signers: [key, one, two] }, { key: keyOf(key), witnesses, quorum })).verdict
  assert.equal(await verdict(2), 'PRISTINE')
  assert.equal(await verdict(3), 'NOT_WITNESSED')
  assert.equal(await verdict(), 'NOT_WITNESSED')
})

test('verify: a witness counts once, whether its key is given twice or it has two', async () => {
  const key = createKey(ORIGIN)
  const log = createLog(leaves(10))
  const [one, two] = [
    createKey('one', SIGNATURE_TYPE.ed25519Cosignature),
    createKey('two', SIGNATURE_TYPE.mlDsa44Cosignature),
  ]
  const again = createKey('one', SIGNATURE_TYPE.mlDsa44Cosignature)
  const verdict = async (signers: KeyUnderTest[], witnesses: KeyUnderTest[], quorum?: number) =>
    (await judge({ log, signers: [key, ...signers] }, { key: keyOf(key), witnesses: witnesses.map(keyOf), quorum }))
      .verdict
  assert.equal(await verdict([one], [one, one], 2), 'NOT_WITNESSED')
  assert.equal(await verdict([one], [one, one]), 'PRISTINE')
  assert.equal(await verdict([one, again], [one, again], 2), 'NOT_WITNESSED')
  assert.equal(await verdict([one, two], [one, two], 2), 'PRISTINE')
})

test('verify: one that is kept with its cosignatures counts as witnessed, if it is of this log', async () => {
  const key = createKey(ORIGIN)
  const one = createKey('one', SIGNATURE_TYPE.ed25519Cosignature)
  const [log, older, other] = [leaves(10), leaves(6), leaves(6, 2)].map(createLog) as [
    LogUnderTest,
    LogUnderTest,
    LogUnderTest,
  ]
  const trust = { key: keyOf(key), witnesses: [keyOf(one)] }
  const report = (root: Hash, signers = [key, one], size = 6) =>
    judge({ log, signers: [key], witnessed: signCheckpoint(size, root, signers) }, trust)
  const right = await report(older.tree.root())
  assert.equal(right.verdict, 'PRISTINE')
  assert.deepEqual(right.notes, ['events 7 to 10 are signed, and not witnessed yet'])
  assert.equal((await report(older.tree.root(), [key])).verdict, 'NOT_WITNESSED')
  assert.equal((await report(other.tree.root())).verdict, 'FORKED')
  assert.equal((await report(older.tree.root(), [one])).verdict, 'WRONG_KEY')
  assert.equal((await report(older.tree.root(), [key, one], 11)).verdict, 'ROLLED_BACK')
})

test('verify: a leaf of a later version is in the log, and what it says is left open', async () => {
  const key = createKey(ORIGIN)
  const later = encodeText('{"v":2,"what":"ever"}')
  const report = await judge({ log: createLog([...leaves(4), later]), signers: [key] }, { key: keyOf(key) })
  assert.deepEqual([report.verdict, report.findings[0]?.at], ['UNVERIFIABLE', { id: 5 }])
})

test('verify: signed entries that are no leaves, or are leaves of other events, are not passed over', async () => {
  const key = createKey(ORIGIN)
  const verdict = async (entries: Uint8Array[]) => {
    const { verdict, findings } = await judge({ log: createLog(entries), signers: [key] }, { key: keyOf(key) })
    return [verdict, findings[0]?.at]
  }
  assert.deepEqual(await verdict([...leaves(2), encodeText('{}')]), ['MALFORMED', { id: 3 }])
  assert.deepEqual(await verdict([...leaves(2), ...leaves(1, 9)]), ['REORDERED', { id: 3 }])
})

const pair = () => [createKey(ORIGIN), createKey(ORIGIN, SIGNATURE_TYPE.mlDsa44Cosignature)] as const

/** One key up to 10, two up to 20, one again; its log has 30 leaves and checkpoints of 10, 20 and 30. */
function announced() {
  const [a, b, c] = [createKey(ORIGIN), pair(), createKey(ORIGIN)]
  const keys = chainOf(a, handOver(10, a, b), handOver(20, b, c))
  const log = createLog(leaves(10))
  const early = signCheckpoint(10, log.tree.root(), [a])
  log.append(leaves(10, 11))
  const root = log.tree.root()
  return { a, b, c, keys, log, early, signBetween: (...signers: KeyUnderTest[]) => signCheckpoint(20, root, signers) }
}

test('verify: an announced ML-DSA-44 key is followed, and which signatures were verified is said', async () => {
  const { a, b, c, keys, log, early, signBetween } = announced()
  const between = signBetween(...b)
  for (const key of [a, ...b, c].map(keyOf).concat(b.map(keyOf).join('\n'))) {
    const report = await judge({ log, checkpoint: between, keys, history: historyOf(early) }, { key })
    assert.equal(report.verdict, 'PRISTINE', report.sentence)
    assert.deepEqual(report.signatures, ['Ed25519', 'ML-DSA-44'])
  }
  log.append(leaves(10, 21))
  const report = await judge({ log, signers: [c], keys, history: historyOf(early, between) }, { key: keyOf(a) })
  assert.deepEqual([report.verdict, report.checkpoints, report.signatures], ['PRISTINE', 3, ['Ed25519']])
})

test('verify: a signature of the two that was announced and is missing, wrong or foreign is a wrong key', async () => {
  const { a, b, c, keys, log, signBetween } = announced()
  const verdict = async (checkpoint: string) => {
    const { verdict, findings, signatures } = await judge({ log, checkpoint, keys }, { key: keyOf(a) })
    assert.deepEqual(signatures, [])
    return `${verdict}: ${findings[0]?.detail}`
  }
  const announcement = 'signature is missing, and the key chain has announced one'
  assert.equal(await verdict(signBetween(b[0])), `WRONG_KEY: Its ML-DSA-44 ${announcement}`)
  assert.equal(await verdict(signBetween(b[1])), `WRONG_KEY: Its Ed25519 ${announcement}`)
  assert.equal(await verdict(signBetween(b[0], pair()[1])), `WRONG_KEY: Its ML-DSA-44 ${announcement}`)
  assert.equal(await verdict(signBetween(a)), 'REVOKED_KEY: A newer key had to sign it')
  assert.equal(await verdict(signBetween(c)), 'WRONG_KEY: An older key had to sign it')
  const note = parseNote(signBetween(...b))!
  for (const n of [0, 1]) {
    const signatures = note.signatures.map((it, i) => (i === n ? { ...it, bytes: it.bytes.map(byte => byte ^ 1) } : it))
    assert.equal(await verdict(formatNote({ ...note, signatures })), 'WRONG_KEY: Its signature is wrong')
  }
  const swapped = note.signatures.map((it, i) => ({ ...it, bytes: note.signatures[1 - i]!.bytes }))
  assert.equal(await verdict(formatNote({ ...note, signatures: swapped })), 'WRONG_KEY: Its signature is wrong')
})

test('verify: an announcement that was cut out, or made without one of the keys, is a wrong key', async () => {
  const { a, b, c, keys, log, signBetween } = announced()
  const verdict = async (chain: string, checkpoint: string, key = keyOf(a)) =>
    (await judge({ log, checkpoint, keys: chain }, { key })).verdict
  const cut = keys.split('\n').slice(0, 1).join('\n').concat('\n')
  assert.equal(await verdict(cut, signBetween(b[0])), 'WRONG_KEY')
  assert.equal(await verdict(cut, signBetween(a)), 'PRISTINE', 'it never was announced then')
  assert.equal(await verdict(cut, signBetween(a), b.map(keyOf).join('\n')), 'WRONG_KEY', 'and whoever knows better')
  const all = [a, ...b]
  for (const left of all) {
    const signers = all.filter(key => key !== left)
    assert.equal(await verdict(chainOf(a, handOver(10, a, b, signers)), signBetween(...b)), 'WRONG_KEY')
  }
  const leave = [...b, c]
  for (const left of leave) {
    const off = handOver(
      15,
      b,
      c,
      leave.filter(key => key !== left),
    )
    assert.equal(await verdict(chainOf(a, handOver(10, a, b), off), signBetween(c)), 'WRONG_KEY')
  }
  const alone = chainOf(a, handOver(10, a, b), handOver(15, b[0], c))
  assert.equal(await verdict(alone, signBetween(c)), 'WRONG_KEY', 'handed over by one of two')
})

test('verify: without a key chain both given keys have to have signed, and with one only that', async () => {
  const { b, log, signBetween } = announced()
  const verdict = async (checkpoint: string, ...given: readonly KeyUnderTest[]) =>
    (await judge({ log, checkpoint }, { key: given.map(keyOf).join('\n') })).verdict
  assert.equal(await verdict(signBetween(...b), ...b), 'PRISTINE')
  assert.equal(await verdict(signBetween(...b), b[0]), 'PRISTINE')
  assert.equal(await verdict(signBetween(...b), b[1]), 'PRISTINE')
  assert.equal(await verdict(signBetween(b[0]), ...b), 'WRONG_KEY')
  assert.equal(await verdict(signBetween(b[0]), b[1]), 'WRONG_KEY')
})

test('verify: a chain of keys is as good as a pack takes it, whatever keys come back in it, and whoever signs', async () => {
  const pool = Array.from({ length: 4 }, () => createKey(ORIGIN))
  const second = createKey(ORIGIN, SIGNATURE_TYPE.mlDsa44Cosignature)
  const log = createLog(leaves(4))
  const key = fc.constantFrom(...pool)
  const keys = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(key) },
    { weight: 1, arbitrary: fc.tuple(key, fc.constant(second)) },
  )
  const links = fc.array(fc.record({ to: keys, further: fc.nat(2) }), { maxLength: 3 })
  const seen = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(
      key,
      links,
      fc.uniqueArray(fc.constantFrom(...pool, second), { minLength: 1 }),
      async (first, to, by) => {
        let [from, size]: [Keys, number] = [first, 0]
        const notes = to.map(link => {
          size += link.further
          const note = handOver(size, from, link.to)
          from = link.to
          return note
        })
        const chain = chainOf(first, ...notes)
        const checkpoint = signCheckpoint(4, log.tree.root(), by)
        const parsed = parseKeyChain(chain)
        const isTrusted = parsed !== undefined && openByChain(checkpoint, parsed).isTrusted
        const { verdict } = await judge({ log, keys: chain, checkpoint }, { key: keyOf(first) })
        assert.equal(verdict === 'PRISTINE', isTrusted, verdict)
        const kind = parsed === undefined ? 'no chain' : verdict
        seen.set(kind, (seen.get(kind) ?? 0) + 1)
      },
    ),
    { numRuns: 150 },
  )
  for (const kind of ['no chain', 'PRISTINE', 'WRONG_KEY']) assert.ok(seen.has(kind), kind)
})

test('verify: a key that was handed over and comes back, and a chain with something else in it, are told', async () => {
  const [a, b] = [createKey(ORIGIN), createKey(ORIGIN)]
  const log = createLog(leaves(4))
  const told = async (keys: string) => {
    const { verdict, findings } = await judge({ log, keys, checkpoint: signCheckpoint(4, log.tree.root(), [a]) }, {})
    return `${verdict}: ${findings[0]?.detail}`
  }
  assert.equal(
    await told(chainOf(a, handOver(1, a, b), handOver(2, b, a))),
    'WRONG_KEY: A key that was handed over comes back',
  )
  assert.equal(await told(chainOf(a, handOver(1, a, a))), 'WRONG_KEY: A key that was handed over comes back')
  assert.equal(await told(chainOf(a).replace('{', '{"v":1,')), 'MALFORMED: It holds something else')
  assert.equal(
    await told(chainOf(b, handOver(1, b, a)).replace('{"hand_over"', '{"v":1,"hand_over"')),
    'MALFORMED: It is no hand-over',
  )
})
