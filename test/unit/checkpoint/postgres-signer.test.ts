/** Checkpoints of a log in PostgreSQL: one history, whoever signs, and nothing that does not continue it. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import test, { type TestContext } from 'node:test'
import type { Tampered } from '../../../src/checkpoint/checkpoint-host.ts'
import type { Outcome } from '../../../src/checkpoint/outcome.ts'
import {
  createPostgresSigner,
  type PostgresSigner,
  type PostgresSignerDeps,
} from '../../../src/checkpoint/postgres-signer.ts'
import { openCheckpoint } from '../../../src/evidence/checkpoint.ts'
import {
  currentKey,
  currentKeys,
  formatKeyChain,
  type KeyChain,
  listKeys,
  openByChain,
} from '../../../src/evidence/key-chain.ts'
import { formatNote, parseNote } from '../../../src/evidence/note.ts'
import { createVerifier } from '../../../src/evidence/signature.ts'
import type { Session } from '../../../src/postgres/postgres.ts'
import { prepareSharedAt } from '../../../src/service/shared-database.ts'
import { keyWrap } from '../../../src/service/shared-keys.ts'
import { createPostgresEventStore } from '../../../src/store/postgres-event-store.ts'
import { eventOf } from '../../contract/security-state.ts'
import { postgresServer } from '../../harness/postgres.ts'

const server = postgresServer()
const secret = randomBytes(32)

async function openLog(t: TestContext) {
  const url = await server.createDatabase()
  await prepareSharedAt(url)
  const store = createPostgresEventStore({ url })
  t.after(() => store.close())
  let position = 0
  return {
    url,
    async grow(count: number) {
      const rows = Array.from({ length: count }, (_, i) => ({ event: eventOf(`event ${i}`), onceKey: null }))
      await store.append({ source: 'test', after: position, through: position + count, rows })
      position += count
    },
    signer(options: Partial<PostgresSignerDeps> = {}) {
      const signer = createPostgresSigner({ url, keys: keyWrap(secret), recordHandOver: async () => {}, ...options })
      t.after(() => signer.close())
      return signer
    },
  }
}

/** The first signatures only. */
function cutTo(count: number, outcome: Outcome | Tampered) {
  return { signatures: parseNote('note' in outcome ? outcome.note : '')?.signatures.slice(0, count) ?? assert.fail() }
}

function sizeOf(outcome: Outcome | Tampered): number {
  assert.ok('size' in outcome, JSON.stringify(outcome))
  return outcome.size
}

test('postgres signer: signs what there is, and says when there is nothing new', async t => {
  const log = await openLog(t)
  const signer = log.signer({ origin: 'example.com/log' })
  await log.grow(300)
  const first = await signer.sign()
  assert.equal(first.kind, 'signed')
  assert.equal(sizeOf(first), 300)
  const chain = signer.keyChain() as KeyChain
  const opened = openCheckpoint('note' in first ? first.note : '', {
    origin: 'example.com/log',
    log: [createVerifier(chain.first)],
  })
  assert.ok(opened.isTrusted)
  assert.equal((await signer.sign()).kind, 'nothing-new')
  await log.grow(1)
  assert.equal(sizeOf(await signer.sign()), 301)
})

test('postgres signer: of many that sign at once, one does, with one key; the history is one', async t => {
  const log = await openLog(t)
  const signers = Array.from({ length: 4 }, () => log.signer())
  for (let i = 0; i < 10; i++) {
    await log.grow(100)
    const outcomes = await Promise.all(signers.map(signer => signer.sign()))
    assert.equal(outcomes.filter(outcome => outcome.kind === 'signed').length, 1, JSON.stringify(outcomes))
  }
  for (const signer of signers) assert.equal(sizeOf(await signer.sign()), 1000)
  assert.equal(new Set(signers.map(signer => signer.keyChain()?.first.id)).size, 1)
  const [count] = await server.run<{ keys: string }>(log.url, 'SELECT count(*) AS keys FROM log_keys')
  assert.equal(Number(count?.keys), 1)
})

test('postgres signer: bytes that were changed are not signed', async t => {
  const changes = [
    'UPDATE log_tiles SET bytes = set_byte(bytes, 100, get_byte(bytes, 100) # 1) WHERE level = -1',
    'UPDATE log_tiles SET bytes = set_byte(bytes, 100, get_byte(bytes, 100) # 1) WHERE level = 0',
    'DELETE FROM log_tiles WHERE level = 0 AND tile = 0',
    'UPDATE log_edge SET hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1) WHERE level = 0',
    "UPDATE audit_events SET reason_code = 'STOPPED' WHERE id = (SELECT max(id) FROM audit_events)",
  ]
  for (const change of changes) {
    const log = await openLog(t)
    const signer = log.signer()
    await log.grow(300)
    await server.run(log.url, change)
    const outcome = await signer.sign()
    assert.equal(outcome.kind === 'refused' && outcome.cause, 'BYTES_DIFFER', change)
  }
})

test('postgres signer: a log that is shorter than what was signed is not signed', async t => {
  const log = await openLog(t)
  await log.grow(300)
  assert.equal((await log.signer().sign()).kind, 'signed')
  const other = await openLog(t)
  await other.grow(10)
  await other.signer().sign()
  const rows = await server.run<{ note: string }>(log.url, 'SELECT note FROM log_checkpoints')
  const [chain] = await server.run<{ chain: string }>(log.url, 'SELECT chain FROM log_key_chain')
  await server.run(other.url, 'UPDATE log_key_chain SET chain = $1', [chain?.chain])
  await server.run(other.url, 'UPDATE log_checkpoints SET size = 300, note = $1', [rows[0]?.note])
  const outcome = await other.signer().sign()
  assert.equal(outcome.kind === 'refused' && outcome.cause, 'ROLLED_BACK')
  await other.grow(400)
  const forked = await other.signer().sign()
  assert.equal(forked.kind === 'refused' && forked.cause, 'FORKED')
})

test('postgres signer: another key-encryption key or origin is refused in words', async t => {
  const log = await openLog(t)
  await log.grow(1)
  await log.signer({ origin: 'example.com/log' }).sign()
  await log.grow(1)
  const outcomes = [
    await log.signer({ keys: keyWrap(randomBytes(32)) }).sign(),
    await log.signer({ origin: 'example.com/other' }).sign(),
  ]
  for (const outcome of outcomes) assert.equal(outcome.kind === 'unavailable' && outcome.isLasting, true)
  assert.match(JSON.stringify(outcomes[0]), /EVC_KEY_ENCRYPTION_KEY/)
  assert.match(JSON.stringify(outcomes[1]), /EVC_LOG_ORIGIN/)
})

test('postgres signer: of two keys that sign neither signs alone, as one signature of two is a forgery', async t => {
  const log = await openLog(t)
  const signer = log.signer({ origin: 'example.com/log', withMlDsa44: true })
  assert.match(JSON.stringify(await signer.sign()), /nothing is logged yet/, 'the key of size 0 is kept by nobody')
  await log.grow(1)
  const first = await signer.sign()
  const chain = signer.keyChain() ?? assert.fail()
  const opened = openByChain('note' in first ? first.note : '', chain)
  assert.ok(opened.isTrusted && opened.signatures.length === 2, JSON.stringify(opened))
  for (const { id } of listKeys(currentKeys(chain))) {
    await log.grow(1)
    await server.run(log.url, "UPDATE log_keys SET id = 'away' WHERE id = $1", [id])
    const outcome = await signer.sign()
    assert.equal(outcome.kind === 'unavailable' && outcome.isLasting, true)
    assert.match(JSON.stringify(outcome), new RegExp(`${id} is not in the table log_keys`))
    await server.run(log.url, "UPDATE log_keys SET id = $1 WHERE id = 'away'", [id])
  }
  const forged = formatNote({ ...(parseNote('note' in first ? first.note : '') ?? assert.fail()), ...cutTo(1, first) })
  await server.run(log.url, 'UPDATE log_checkpoints SET note = $1', [forged])
  const outcome = await signer.sign()
  assert.equal(outcome.kind === 'refused' && outcome.cause, 'CHECKPOINT_DAMAGED')
})

test('postgres signer: keys are handed over with the event that tells of it, or not at all; no request is lost, and every instance follows', async t => {
  const log = await openLog(t)
  const told: string[] = []
  const recordHandOver = async (_session: Session, note: string) => void told.push(note)
  const [a, b, c] = [log.signer({ recordHandOver }), log.signer({ recordHandOver }), log.signer({ recordHandOver })]
  const stored = () =>
    server.run<{ chain: string; keys: string }>(
      log.url,
      'SELECT chain, (SELECT count(*) FROM log_keys) AS keys FROM log_key_chain',
    )
  const signed = async (signer: PostgresSigner) => {
    const outcome = await signer.sign()
    assert.ok('note' in outcome && outcome.note !== undefined, JSON.stringify(outcome))
    const opened = openByChain(outcome.note, signer.keyChain() ?? assert.fail())
    assert.ok(opened.isTrusted, JSON.stringify(opened))
    return opened
  }
  await assert.rejects(a.rotate(), /LOG_KEYS_UNUSABLE|none yet/)
  await log.grow(3)
  await signed(a)
  const before = await stored()
  const ends = [
    async () => assert.fail('the event cannot be left'),
    async (session: Session) => void (await session.query('SELECT pg_terminate_backend(pg_backend_pid())')),
  ]
  for (const end of ends) {
    await assert.rejects(log.signer({ recordHandOver: end }).rotate())
    assert.deepEqual(await stored(), before, 'nothing of it happened')
  }
  await log.grow(1)
  assert.equal((await signed(b)).signatures[0]?.key.id, a.keyChain()?.first.id)

  const chains = await Promise.all([a.rotate(), c.rotate()])
  assert.deepEqual(
    chains.map(({ handOvers }) => handOvers.length).sort((x, y) => x - y),
    [1, 2],
  )
  await log.grow(1)
  for (const signer of [b, a, c]) {
    const { signatures } = await signed(signer)
    assert.equal(signatures[0]?.key.id, currentKey(signer.keyChain() ?? assert.fail()).id)
  }
  for (let n = 0; n < 8; n++) {
    const grown = log.grow(1)
    const outcomes = await Promise.all([a.sign(), b.sign(), c.rotate(), a.sign()])
    for (const outcome of outcomes)
      assert.ok(!('kind' in outcome) || outcome.kind !== 'refused', JSON.stringify(outcome))
    await grown
  }
  await signed(b)
  const chain = b.keyChain() ?? assert.fail()
  assert.deepEqual(
    chain.handOvers.map(({ note }) => note),
    told,
  )
  for (const { note } of await server.run<{ note: string }>(log.url, 'SELECT note FROM log_checkpoints'))
    assert.ok(openByChain(note, chain).isTrusted, 'signed by the keys of its size')

  const [{ chain: text = '' } = {}] = await stored()
  await server.run(log.url, 'UPDATE log_key_chain SET chain = $1', [text.slice(0, text.lastIndexOf('{'))])
  await log.grow(1)
  const cut = await b.sign()
  assert.notEqual(cut.kind, 'signed', 'a hand-over that was there is not taken back')
})

test('postgres signer: whether two keys sign is changed when all instances were started so, and by no one of them alone', async t => {
  const log = await openLog(t)
  const blocked: string[] = []
  const [one, two] = [
    log.signer({ withMlDsa44: false }),
    log.signer({ withMlDsa44: true, onDisagreement: id => blocked.push(id) }),
  ]
  const started = (journal: string, logMlDsa: boolean | null) =>
    server.run(
      log.url,
      `INSERT INTO instances (journal_id, host, state, durable, log_ml_dsa) VALUES ($1, 'here', 'running', 0, $2)
       ON CONFLICT (journal_id) DO UPDATE SET log_ml_dsa = excluded.log_ml_dsa`,
      [journal, logMlDsa],
    )
  /** As each does once a second. @returns by how many keys the next checkpoint is signed */
  const round = async () => {
    await log.grow(1)
    for (const signer of [one, two, one, two]) await signer.handOver(sizeOf(await signer.sign()))
    await log.grow(1)
    const outcome = await one.sign()
    const opened = openByChain('note' in outcome ? outcome.note : '', one.keyChain() ?? assert.fail())
    assert.ok(opened.isTrusted, JSON.stringify([outcome, opened]))
    return [opened.signatures.length, one.keyChain()?.handOvers.length]
  }
  await started('first', false)
  await started('second', true)
  await log.grow(1)
  await one.sign()
  assert.deepEqual(await round(), [1, 0])
  assert.deepEqual(await round(), [1, 0])
  assert.deepEqual(blocked, ['first'], 'which is told once')
  await started('first', null)
  assert.deepEqual(await round(), [1, 0], 'an older version cannot sign so')
  await started('first', true)
  assert.deepEqual(await round(), [2, 1])
  await started('first', false)
  assert.deepEqual(await round(), [2, 1], 'and one alone does not switch it off')
  await started('second', false)
  assert.deepEqual(await round(), [1, 2])
})

test('postgres signer: cosignatures are kept with the newest checkpoint only', async t => {
  const log = await openLog(t)
  const signer = log.signer()
  await log.grow(5)
  const first = await signer.sign()
  assert.ok('note' in first)
  const cosigned = `${first.note}— witness.example/w ${Buffer.alloc(76, 1).toString('base64')}\n`
  await signer.cosign(cosigned, false)
  const shown = await signer.sign()
  assert.equal('note' in shown && shown.note, cosigned)
  await log.grow(5)
  await signer.sign()
  await signer.cosign(cosigned, false)
  const newest = await signer.sign()
  assert.ok('note' in newest && !newest.note.includes('witness.example'))
})

test('postgres signer: the largest checkpoint that was witnessed is kept for all, if it is of this log', async t => {
  const log = await openLog(t)
  const [signer, other] = [log.signer(), log.signer()]
  await log.grow(5)
  const first = await signer.sign()
  await log.grow(5)
  const second = await signer.sign()
  assert.ok('note' in first && 'note' in second)
  const line = `— witness.example/w ${Buffer.alloc(76, 1).toString('base64')}\n`
  await other.sign()
  assert.equal(other.witnessed(), undefined)
  await signer.cosign(first.note + line, true)
  await other.sign()
  assert.deepEqual(other.witnessed(), { size: 5, note: first.note + line })
  await signer.cosign(second.note + line, true)
  await signer.cosign(first.note + line, true)
  await other.sign()
  assert.deepEqual(other.witnessed(), { size: 10, note: second.note + line })

  const foreign = await openLog(t)
  await foreign.grow(20)
  const theirs = await foreign.signer().sign()
  assert.ok('note' in theirs)
  await signer.cosign(theirs.note + line, true)
  await other.sign()
  assert.deepEqual(other.witnessed(), { size: 10, note: second.note + line }, 'it is beyond what was signed')
  await log.grow(20)
  await signer.sign()
  await signer.cosign(theirs.note + line, true)
  await other.sign()
  assert.deepEqual(other.witnessed(), { size: 10, note: second.note + line }, 'it is not of this log')
  await server.run(log.url, 'ALTER TABLE log_witnessed DISABLE TRIGGER guard')
  await server.run(log.url, 'UPDATE log_witnessed SET size = 20, note = $1', [theirs.note + line])
  await other.sign()
  assert.equal(other.witnessed(), undefined, 'nor is it whoever put it there')
})

test('postgres signer: what it signed or saw is continued, whatever the database says was signed', async t => {
  const log = await openLog(t)
  const [signer, other] = [log.signer({ origin: 'example.com/log' }), log.signer()]
  await log.grow(5)
  const first = await signer.sign()
  await log.grow(5)
  assert.equal(sizeOf(await signer.sign()), 10)
  assert.equal(sizeOf(await other.sign()), 10)
  const refused = async (sql: string, cause: string, ...parameters: unknown[]) => {
    await server.run(log.url, 'DELETE FROM log_checkpoints')
    await server.run(log.url, sql, parameters)
    for (const each of [signer, other]) {
      const outcome = await each.sign()
      assert.deepEqual([outcome.kind, 'cause' in outcome && outcome.cause], ['refused', cause], JSON.stringify(outcome))
    }
  }
  await refused('SELECT 1', 'ROLLED_BACK')
  assert.ok('note' in first)
  await refused('INSERT INTO log_checkpoints (size, note) VALUES (5, $1)', 'ROLLED_BACK', first.note)
  const foreign = await openLog(t)
  await foreign.grow(20)
  const stranger = foreign.signer({ origin: 'example.com/log' })
  const theirs = await stranger.sign()
  assert.ok('note' in theirs)
  await server.run(log.url, 'UPDATE log_key_chain SET chain = $1', [formatKeyChain(stranger.keyChain() as KeyChain)])
  await refused('INSERT INTO log_checkpoints (size, note) VALUES (20, $1)', 'FORKED', theirs.note)
})

test('postgres signer: what an earlier process knew last is continued, too', async t => {
  const log = await openLog(t)
  await log.grow(5)
  const first = await log.signer().sign()
  await log.grow(300)
  const second = await log.signer().sign()
  const foreign = await openLog(t)
  await foreign.grow(5)
  const theirs = await foreign.signer().sign()
  assert.ok('note' in first && 'note' in second && 'note' in theirs)
  const causeWith = async (kept: string | undefined) => {
    const outcome = await log.signer({ kept: kept ?? assert.fail() }).sign()
    return outcome.kind === 'refused' ? outcome.cause : outcome.kind
  }
  assert.equal(await causeWith(first.note), 'nothing-new')
  assert.equal(await causeWith(second.note), 'nothing-new')
  assert.equal(await causeWith(theirs.note), 'FORKED')
  assert.equal(await causeWith('garbage'), 'FORKED')

  await server.run(log.url, 'DELETE FROM log_checkpoints WHERE size > 5')
  assert.equal(await causeWith(second.note), 'ROLLED_BACK')
  await server.run(log.url, 'DELETE FROM log_checkpoints')
  await server.run(log.url, 'DELETE FROM log_key_chain')
  assert.equal(await causeWith(second.note), 'FORKED')
  const [chains] = await server.run<{ count: string }>(log.url, 'SELECT count(*) FROM log_key_chain')
  assert.equal(Number(chains?.count), 0, 'no key is made where one is missing')
  assert.equal((await log.signer().sign()).kind, 'signed', 'nothing is known of before')
})
