/** The suite that erasure is held to, wherever the trail is: blank rows, one tombstone, proofs of before, and who is refused. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import test, { type TestContext } from 'node:test'
import type { Erased, ErasurePlan, ErasureRequest } from '../../src/erasure/request.ts'
import { Refusal } from '../../src/errors.ts'
import type { AuditEvent, StoredEvent } from '../../src/event/event.ts'
import { commit, ERASED_COLUMNS, formatLeaf } from '../../src/evidence/leaf.ts'
import { hashLeaf } from '../../src/evidence/merkle.ts'
import { verifyInclusion } from '../../src/evidence/merkle-proof.ts'
import type { TimedEventQueries } from '../../src/query/timed-event-queries.ts'
import type { SecurityState } from '../../src/security/security-state.ts'
import type { LegalHold } from '../../src/store/retention.ts'
import type { Subject } from '../../src/store/subject.ts'
import { createRandom, NEVER, randomEvents, timeAt } from '../unit/query/event-fixture.ts'

export interface ErasableTrail {
  /** Closed with the trail. */
  readonly queries: TimedEventQueries
  readonly state: SecurityState
  append(events: readonly AuditEvent[]): Promise<void>
  /** Oldest first. */
  rows(): Promise<StoredEvent[]>
  root(): Promise<Uint8Array>
  /** All of it: rows, and what is left in files. */
  erase(request: ErasureRequest): Promise<Erased>
  plan(subject: Subject): Promise<ErasurePlan>
  placeHold(hold: Pick<LegalHold, 'start_time' | 'end_time' | 'reason'>): Promise<LegalHold>
  liftHold(id: number): Promise<LegalHold>
  /** Where the text is found: files, or tables and indexes as their files show them. */
  holding(text: string): Promise<string[]>
  /** Rows of log_erasures. */
  erasures(): Promise<{ id: number; tombstone: number }[]>
  /** Rows, leaves, tree and what else is kept agree. */
  check(): Promise<void>
  /** Reads, and sees what was there at the call, until it is ended. */
  startReading(): Promise<() => Promise<void>>
}

/** @param options.segment rows of a table, so that there are several */
export interface ErasureFactory {
  create(t: TestContext): Promise<ErasableTrail>
  readonly segment: number
}

export const NAME = 'CP-4711-verse'
export const ADDRESS = '203.0.113.77'
export const WHO = { kind: 'who', name: NAME } as const
export const REQUEST: ErasureRequest = { subject: WHO, reason: 'request 118', actor: 'ada' }
export const NOTHING: Erased = { erased: 0, eventId: null, archivesMissing: [], journalsBehind: [] }
const DAY = { start_time: timeAt(0), end_time: timeAt(86_400), bucketSeconds: 3_600 }

/** Every seventh row holds the name, in one of the places that it can be in. */
export function eventsWith(count: number, from = 0): AuditEvent[] {
  const places: Partial<AuditEvent>[] = [
    { who: NAME, ip: ADDRESS },
    { description: `Charge point ${NAME} deleted` },
    { endpoint: `/charge-points/${NAME}/status` },
    { metadata_json: JSON.stringify({ filter: { who: NAME } }) },
    { who: NAME, description: `${'x'.repeat(5_000)} ${NAME}` },
  ]
  return randomEvents(from + count, createRandom(7))
    .slice(from)
    .map((event, n) => {
      const at = from + n
      const place = at % 7 === 3 ? places[((at - 3) / 7) % places.length] : {}
      return { ...event, date_time: timeAt(at), ...place }
    })
}

export const isHolder = (row: object) => JSON.stringify(row).includes(NAME)

export const chargePoint = (cp_id: string, location: string | null = null) =>
  ({
    cp_id,
    location,
    security_status: 'ACTIVE',
    credential_kind: 'generated',
    credential_hash: 'x',
    token_version: 1,
    created_at: timeAt(0),
    updated_at: timeAt(0),
  }) as const

const of = (name: string, more: Partial<ErasureRequest> = {}) => ({
  ...REQUEST,
  subject: { kind: 'who', name } as const,
  ...more,
})

export function erasureContract(name: string, { create, segment }: ErasureFactory): void {
  test(`${name}: rows in several tables are blank, all else is as it was, and every proof of before verifies`, async t => {
    const trail = await create(t)
    const { queries, append } = trail
    await append(eventsWith(segment * 2 + 1_100))
    const before = await trail.rows()
    const size = before.length
    const root = await trail.root()
    const proven = []
    for (const id of [4, 11, 18, 25, segment * 2 + 900, size]) {
      const proof = await queries.proof({ id, size }, NEVER)
      assert.ok(proof)
      proven.push({ id, hashes: proof.hashes, leaf: formatLeaf(proof.event, commit(proof.salt, proof.event)) })
    }
    await queries.summary(DAY, NEVER) // so that the reader has in memory what it keeps
    assert.notDeepEqual(await trail.holding(NAME), [])

    const done = await trail.erase(REQUEST)
    const holders = before.filter(isHolder).map(({ id }) => id)
    assert.ok(holders.length > (segment * 2) / 7)
    assert.deepEqual(done, { ...NOTHING, erased: holders.length, eventId: size + 1 })
    assert.deepEqual(await trail.holding(NAME), [])
    const after = await trail.rows()
    assert.deepEqual(
      after.slice(0, size),
      before.map(row => ({ ...row, ...(isHolder(row) ? ERASED_COLUMNS : {}) })),
    )
    const { action, reason_code, severity, who, ip, metadata_json } = after[size] ?? assert.fail()
    assert.deepEqual([action, reason_code, severity, who, ip], ['SYSTEM', 'ERASED', 'WARN', 'system', '-'])
    const ids_sha256 = createHash('sha256').update(holders.join('\n')).digest('hex')
    const told = { count: holders.length, ids_sha256, reason: 'request 118', actor: 'ada' }
    assert.deepEqual(JSON.parse(metadata_json ?? ''), told)
    await trail.check()
    assert.deepEqual(
      await trail.erasures(),
      holders.map(id => ({ id, tombstone: size + 1 })),
    )

    for (const { id, hashes, leaf } of proven) {
      assert.ok(verifyInclusion(hashLeaf(leaf), id - 1, size, hashes, root), `${id}`)
      const now = (await queries.proof({ id, size }, NEVER)) ?? assert.fail()
      assert.deepEqual(now.hashes, hashes)
      assert.equal(
        now.salt.every(byte => byte === 0),
        holders.includes(id),
      )
    }
    assert.equal((await queries.event(4, NEVER))?.who, '')
    const { total, top_charge_points, top_addresses } = await queries.summary(DAY, NEVER)
    assert.equal(total, size)
    for (const { cp_id } of top_charge_points) assert.ok(cp_id !== '' && cp_id !== NAME)
    for (const { ip: address } of top_addresses) assert.ok(address !== '' && address !== ADDRESS)

    // The name comes back.
    await append(eventsWith(300, 3_000))
    await trail.check()
    const again = await trail.erase(REQUEST)
    assert.equal(again.eventId, size + 302)
    assert.deepEqual(await trail.holding(NAME), [])
    await trail.check()
  })

  test(`${name}: an address is erased with what else the rows say, and is no usual one any more`, async t => {
    const trail = await create(t)
    await trail.append(eventsWith(2_100))
    await trail.state.change(transaction => transaction.putChargePoint(chargePoint('CP-1')))
    await trail.state.saveLastSeen([{ cp_id: 'CP-1', last_success: timeAt(0), networks: [ADDRESS, '10.0.0.1'] }], 8)
    const { erased } = await trail.erase({ ...REQUEST, subject: { kind: 'ip', name: ADDRESS } })
    assert.equal(erased, Math.ceil(300 / 5))
    assert.deepEqual(await trail.holding(ADDRESS), [])
    assert.equal(await trail.state.isUsualAddress('CP-1', ADDRESS), false)
    assert.equal(await trail.state.isUsualAddress('CP-1', '10.0.0.1'), true)
  })

  test(`${name}: what nobody holds changes nothing and leaves no tombstone`, async t => {
    const trail = await create(t)
    await trail.append(eventsWith(300))
    const before = await trail.rows()
    assert.deepEqual(await trail.plan(of('nobody-at-all').subject), { rows: 0, refusal: undefined })
    assert.deepEqual(await trail.erase(of('nobody-at-all')), NOTHING)
    assert.deepEqual(await trail.rows(), before)
  })

  test(`${name}: a legal hold wins, whichever of the rows it keeps, and so does one that names the subject`, async t => {
    const trail = await create(t)
    await trail.append(eventsWith(300))
    await trail.placeHold({ start_time: timeAt(10), end_time: timeAt(11), reason: 'case 1' })
    await refused(trail.erase(REQUEST), 'LEGAL_HOLD', /Legal hold 1 keeps the events of 2026-01-01T00:00:10/)
    const { rows, refusal } = await trail.plan(WHO)
    assert.deepEqual([rows, refusal?.code], [43, 'LEGAL_HOLD'])
    const nobodys = { start_time: '2020-01-01T00:00:00.000Z', end_time: '2020-01-02T00:00:00.000Z' }
    const named = await trail.placeHold({ ...nobodys, reason: 'case of CP-9' })
    await refused(trail.erase(of('CP-9')), 'LEGAL_HOLD', new RegExp(`Legal hold ${named.id} `))
    const stored = await trail.rows()
    assert.deepEqual(
      stored.slice(300).map(({ reason_code }) => reason_code),
      ['HOLD_PLACED', 'HOLD_PLACED'],
    )
    assert.equal(stored.filter(isHolder).length, 43)
    await trail.liftHold(1)
    await refused(trail.liftHold(1), 'HOLD_NOT_FOUND')
    assert.equal((await trail.erase(REQUEST)).erased, 43)
  })

  test(`${name}: a subject in use is refused, and words of the tombstone that would name it`, async t => {
    const trail = await create(t)
    await trail.append(eventsWith(50))
    const times = { created_at: timeAt(0), revoked_at: null }
    const session = { created_at: timeAt(0), expires_at: timeAt(1), ended_at: null }
    await trail.state.change(async transaction => {
      await transaction.putAdmin({ name: 'olga', role: 'operator', key_hash: 'a', ...times })
      await transaction.putAdmin({
        name: 'otto-4711',
        role: 'operator',
        key_hash: 'b',
        ...times,
        revoked_at: timeAt(1),
      })
      await transaction.putSession({ id_hash: 'c', admin: 'otto-4711', key_hash: 'b', ...session })
      await transaction.putChargePoint(chargePoint(NAME, 'house of erna'))
    })
    await refused(trail.erase(of('olga')), 'SUBJECT_IN_USE')
    await refused(trail.erase(of(NAME)), 'SUBJECT_IN_USE')
    await refused(trail.erase(of('erna')), 'SUBJECT_IN_USE', /location/)
    await refused(trail.erase(of('ada')), 'VALIDATION_FAILED')
    await refused(trail.erase(of('CP-5', { reason: 'because of CP-5' })), 'VALIDATION_FAILED')
    for (const nobody of ['system', 'unknown', '-']) await refused(trail.erase(of(nobody)), 'VALIDATION_FAILED')
    assert.equal((await trail.rows()).length, 50)

    await trail.erase(of('otto-4711'))
    assert.deepEqual(
      (await trail.state.admins()).map(({ name }) => name),
      ['olga'],
    )
    assert.deepEqual(await trail.holding('otto-4711'), [])
  })

  test(`${name}: a charge point that was deleted leaves nothing in the security state`, async t => {
    const trail = await create(t)
    await trail.append(eventsWith(50))
    await trail.state.change(transaction => transaction.putChargePoint(chargePoint(NAME)))
    await trail.state.saveLastSeen([{ cp_id: NAME, last_success: timeAt(0), networks: ['10.0.0.1'] }], 8)
    await trail.state.change(transaction => transaction.removeChargePoint(NAME))
    await trail.erase(REQUEST)
    assert.deepEqual(await trail.holding(NAME), [])
  })

  test(`${name}: while somebody reads on and on it is erased and not finished; asked again it is`, async t => {
    const trail = await create(t)
    await trail.append(eventsWith(300))
    const endReading = await trail.startReading()
    await refused(trail.erase(REQUEST), 'ERASURE_UNFINISHED')
    const rows = await trail.rows()
    assert.equal(rows.at(-1)?.reason_code, 'ERASED')
    assert.deepEqual(rows.filter(isHolder), [])
    assert.notDeepEqual(await trail.holding(NAME), [])
    await endReading()
    assert.deepEqual(await trail.erase(REQUEST), NOTHING)
    assert.deepEqual(await trail.holding(NAME), [])
    assert.equal((await trail.rows()).length, rows.length)
    await trail.check()
  })
}

export async function refused(work: Promise<unknown>, code: string, detail = /./): Promise<void> {
  const error = await work.then(
    () => assert.fail(`it was not refused: ${code}`),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof Refusal, String(error))
  assert.equal(error.code, code, error.message)
  assert.match(error.message, detail)
}
