/** The suite that every security state is held to. `create` opens a new, empty one; `reopen` the same one again. */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import test, { type TestContext } from 'node:test'
import type { AuditEvent } from '../../src/event/event.ts'
import type {
  AdminRecord,
  ChargePointRecord,
  KeyRecord,
  SecurityState,
  SessionRecord,
} from '../../src/security/security-state.ts'

export interface StateUnderTest {
  readonly state: SecurityState
  /** A second handle on the same state, as another process would have. */
  reopen(): Promise<SecurityState>
}

const AT = '2026-01-02T03:04:05.678Z'

export function chargePointRecord(fields: Partial<ChargePointRecord> = {}): ChargePointRecord {
  return {
    cp_id: 'CP-1',
    location: null,
    security_status: 'ACTIVE',
    credential_kind: 'generated',
    credential_hash: 'hash',
    token_version: 2 ** 47 + 1,
    created_at: AT,
    updated_at: AT,
    ...fields,
  }
}

export function keyRecord(fields: Partial<KeyRecord> = {}): KeyRecord {
  return {
    key_id: randomUUID(),
    cp_id: 'CP-1',
    version: 1,
    wrapped: new Uint8Array(randomBytes(60)),
    fingerprint: '0123456789abcdef',
    created_at: AT,
    ...fields,
  }
}

function adminRecord(fields: Partial<AdminRecord> = {}): AdminRecord {
  return { name: 'alice', role: 'admin', key_hash: 'aa', created_at: AT, revoked_at: null, ...fields }
}

export function eventOf(description: string): AuditEvent {
  return {
    date_time: AT,
    who: 'system',
    ip: '-',
    action: 'SYSTEM',
    description,
    severity: 'INFO',
    reason_code: 'STARTED',
    request_id: null,
    endpoint: null,
    http_method: null,
    status_code: null,
    metadata_json: '{"a":"\\u001b"}',
  }
}

export function securityStateContract(name: string, create: (t: TestContext) => Promise<StateUnderTest>): void {
  const prove = (what: string, proof: (subject: StateUnderTest) => Promise<void>) =>
    test(`${name}: ${what}`, async t => proof(await create(t)))
  const put = (state: SecurityState, ...records: ChargePointRecord[]) =>
    state.change(async transaction => {
      for (const record of records) await transaction.putChargePoint(record)
    })

  prove('a charge point reads back as it was put, also through another handle', async ({ state, reopen }) => {
    const record = chargePointRecord({ location: 'Höhenweg 3 \u{1F50C}' })
    await put(state, record)
    assert.deepEqual(await state.chargePoint('CP-1'), record)
    assert.deepEqual(await (await reopen()).chargePoint('CP-1'), record)
    assert.equal(await state.chargePoint('cp-1'), undefined)
  })

  prove('a change that throws leaves nothing, and the next one works', async ({ state }) => {
    const thrown = state.change(async transaction => {
      await transaction.putChargePoint(chargePointRecord())
      await transaction.addToOutbox(randomUUID(), eventOf('lost'))
      assert.ok(await transaction.chargePoint('CP-1'), 'it reads its own writes')
      throw new Error('changed my mind')
    })
    await assert.rejects(thrown, /changed my mind/)
    assert.equal(await state.chargePoint('CP-1'), undefined)
    assert.deepEqual(await state.outbox(0, 10), [])
    await put(state, chargePointRecord())
    assert.ok(await state.chargePoint('CP-1'))
  })

  prove('nobody reads what is not committed', async ({ state }) => {
    await state.change(async transaction => {
      await transaction.putChargePoint(chargePointRecord())
      assert.equal(await state.chargePoint('CP-1'), undefined)
    })
    assert.ok(await state.chargePoint('CP-1'))
  })

  prove('changes are serial: 50 concurrent increments over two handles all count', async ({ state, reopen }) => {
    await put(state, chargePointRecord({ token_version: 0 }))
    const handles = [state, await reopen()]
    const increment = (handle: SecurityState) =>
      handle.change(async transaction => {
        const record = await transaction.chargePoint('CP-1')
        assert.ok(record)
        await transaction.putChargePoint({ ...record, token_version: record.token_version + 1 })
      })
    await Promise.all(Array.from({ length: 50 }, (_, i) => increment(handles[i % 2] as SecurityState)))
    await state.refresh()
    assert.equal((await state.chargePoint('CP-1'))?.token_version, 50)
  })

  prove('pages walk by cp_id, each charge point once, filtered by status', async ({ state }) => {
    const ids = ['A', 'B', 'C', 'a', 'b']
    await put(
      state,
      ...ids.map(cp_id => chargePointRecord({ cp_id, security_status: cp_id === 'B' ? 'REVOKED' : 'ACTIVE' })),
    )
    const walk = async (status?: 'ACTIVE') => {
      const seen: string[] = []
      for (let after = ''; ; after = seen.at(-1) ?? '') {
        const page = await state.chargePoints({ ...(status && { status }), limit: 2, after })
        assert.deepEqual(
          (await state.statuses({ ...(status && { status }), limit: 2, after })).map(row => row.cp_id),
          page.map(row => row.cp_id),
        )
        if (page.length === 0) return seen
        seen.push(...page.map(row => row.cp_id))
      }
    }
    assert.deepEqual(await walk(), ids)
    assert.deepEqual(await walk('ACTIVE'), ['A', 'C', 'a', 'b'])
  })

  prove('it is known whether any credential is chosen', async ({ state }) => {
    await put(state, chargePointRecord())
    assert.equal(await state.hasChosenCredentials(), false)
    await put(state, chargePointRecord({ cp_id: 'CP-2', credential_kind: 'chosen' }))
    assert.equal(await state.hasChosenCredentials(), true)
    await state.change(transaction => transaction.removeChargePoint('CP-2'))
    assert.equal(await state.hasChosenCredentials(), false)
  })

  prove('a charge point has one current key; dropped ones stay as history without their bytes', async ({ state }) => {
    const [first, second] = [keyRecord(), keyRecord({ version: 2 })]
    await put(state, chargePointRecord())
    await state.change(transaction => transaction.addKey(first))
    assert.deepEqual(await state.currentKey('CP-1'), first)
    await assert.rejects(state.change(transaction => transaction.addKey(second)))
    await state.change(async transaction => {
      await transaction.dropKey(first.key_id, AT)
      assert.equal(await transaction.currentKey('CP-1'), undefined)
      assert.equal(await transaction.lastKeyVersion('CP-1'), 1)
      await transaction.addKey(second)
    })
    assert.deepEqual(await state.currentKey('CP-1'), second)
  })

  prove('removing a charge point removes all that hangs on it', async ({ state }) => {
    const key = keyRecord()
    await put(state, chargePointRecord())
    await state.change(transaction => transaction.addKey(key))
    await state.useNonce(key.key_id, randomBytes(12), 10)
    await state.saveLastSeen([{ cp_id: 'CP-1', last_success: AT, networks: ['192.0.2.1'] }], 8)
    await state.change(transaction => transaction.removeChargePoint('CP-1'))
    await put(state, chargePointRecord())
    assert.equal(await state.currentKey('CP-1'), undefined)
    assert.equal(await state.isUsualAddress('CP-1', '192.0.2.1'), false)
    assert.equal((await state.status('CP-1'))?.last_success, null)
    assert.equal(await state.change(transaction => transaction.lastKeyVersion('CP-1')), 0)
  })

  prove('a status tells of key and last success', async ({ state }) => {
    const key = keyRecord({ version: 7 })
    await put(state, chargePointRecord({ location: 'North' }))
    const bare = {
      cp_id: 'CP-1',
      location: 'North',
      security_status: 'ACTIVE',
      updated_at: AT,
      key_version: null,
      key_created_at: null,
      last_success: null,
    }
    assert.deepEqual(await state.status('CP-1'), bare)
    await state.change(transaction => transaction.addKey(key))
    await state.saveLastSeen([{ cp_id: 'CP-1', last_success: AT, networks: [] }], 8)
    const full = { ...bare, key_version: 7, key_created_at: AT, last_success: AT }
    assert.deepEqual(await state.status('CP-1'), full)
    assert.deepEqual(await state.statuses({ limit: 1 }), [full])
    assert.equal(await state.status('CP-2'), undefined)
  })

  prove('a nonce is new once, per key, and only so many fit', async ({ state }) => {
    const [key, other] = [keyRecord(), keyRecord({ cp_id: 'CP-2' })]
    const [a, b, c] = [randomBytes(12), randomBytes(12), randomBytes(12)]
    await put(state, chargePointRecord(), chargePointRecord({ cp_id: 'CP-2' }))
    await state.change(async transaction => {
      await transaction.addKey(key)
      await transaction.addKey(other)
    })
    const verdicts = await Promise.all([a, a, b, c, a].map(nonce => state.useNonce(key.key_id, nonce, 2)))
    assert.deepEqual(verdicts, ['new', 'repeated', 'new', 'exhausted', 'repeated'])
    assert.equal(await state.useNonce(other.key_id, a, 2), 'new')
    assert.equal(await state.useNonce(randomUUID(), a, 2), 'gone')
    await state.change(transaction => transaction.dropKey(key.key_id, AT))
    assert.equal(await state.useNonce(key.key_id, c, 2), 'gone')
  })

  prove('the nonces of dropped keys are swept, those of current ones stay', async ({ state }) => {
    const [key, other] = [keyRecord(), keyRecord({ cp_id: 'CP-2' })]
    const nonce = randomBytes(12)
    await put(state, chargePointRecord(), chargePointRecord({ cp_id: 'CP-2' }))
    await state.change(async transaction => {
      await transaction.addKey(key)
      await transaction.addKey(other)
    })
    await Promise.all([key, other].map(({ key_id }) => state.useNonce(key_id, nonce, 9)))
    assert.equal(await state.sweepNonces(), false)
    await state.change(transaction => transaction.dropKey(key.key_id, AT))
    while (await state.sweepNonces());
    assert.equal(await state.useNonce(other.key_id, nonce, 9), 'repeated')
  })

  prove('the most recent usual addresses are kept, of known charge points only', async ({ state }) => {
    await put(state, chargePointRecord())
    for (let second = 0; second < 5; second++) {
      const last_success = new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString()
      const networks = [`192.0.2.${second}`]
      await state.saveLastSeen(
        ['CP-1', 'CP-9'].map(cp_id => ({ cp_id, last_success, networks })),
        3,
      )
    }
    await state.refresh()
    const usual = await Promise.all([0, 1, 2, 3, 4].map(i => state.isUsualAddress('CP-1', `192.0.2.${i}`)))
    assert.deepEqual(usual, [false, false, true, true, true])
    assert.equal(await state.isUsualAddress('CP-9', '192.0.2.4'), false)
  })

  prove('admins are found by the hash of their key and by name, and replaced by name', async ({ state }) => {
    await state.change(async transaction => {
      await transaction.putAdmin(adminRecord({ name: 'bob', role: 'auditor', key_hash: 'bb' }))
      await transaction.putAdmin(adminRecord())
      await transaction.putAdmin(adminRecord({ key_hash: 'cc' }))
    })
    assert.equal(await state.adminByKeyHash('aa'), undefined)
    assert.deepEqual(await state.adminByKeyHash('cc'), adminRecord({ key_hash: 'cc' }))
    assert.deepEqual(
      (await state.admins()).map(admin => admin.name),
      ['alice', 'bob'],
    )
    await state.change(async transaction => {
      assert.equal((await transaction.admin('bob'))?.role, 'auditor')
      assert.equal((await transaction.adminByKeyHash('bb'))?.name, 'bob')
      assert.equal((await transaction.admins()).length, 2)
    })
    await assert.rejects(
      state.change(transaction => transaction.putAdmin(adminRecord({ name: 'eve', key_hash: 'bb' }))),
    )
  })

  prove('charge points are found by the beginning of their id, and counted by status', async ({ state }) => {
    await state.change(async transaction => {
      for (const cp_id of ['A-1', 'A-2', 'AB', 'a-1', 'B_1'])
        await transaction.putChargePoint(chargePointRecord({ cp_id }))
      await transaction.putChargePoint(chargePointRecord({ cp_id: 'A-3', security_status: 'REVOKED' }))
    })
    const ids = async (page: Parameters<SecurityState['statuses']>[0]) =>
      (await state.statuses(page)).map(cp => cp.cp_id)
    assert.deepEqual(await ids({ prefix: 'A-', limit: 9 }), ['A-1', 'A-2', 'A-3'])
    assert.deepEqual(await ids({ prefix: 'A-', after: 'A-1', limit: 1 }), ['A-2'])
    assert.deepEqual(await ids({ prefix: 'A', status: 'REVOKED', limit: 9 }), ['A-3'])
    assert.deepEqual(await ids({ prefix: 'C', limit: 9 }), [])
    assert.deepEqual(
      { REVOKED: 0, OUT_OF_SERVICE: 0, ...(await state.statusCounts()) },
      {
        ACTIVE: 5,
        OUT_OF_SERVICE: 0,
        REVOKED: 1,
      },
    )
  })

  prove(
    'sessions are found by their hash, listed by admin while they last, and forgotten when long over',
    async opened => {
      const { state } = opened
      const session = (id_hash: string, fields: Partial<SessionRecord> = {}): SessionRecord => ({
        id_hash,
        admin: 'alice',
        key_hash: 'aa',
        created_at: AT,
        expires_at: '2026-01-02T04:00:00.000Z',
        ended_at: null,
        ...fields,
      })
      await state.change(async transaction => {
        await transaction.putSession(session('2', { created_at: '2026-01-02T03:04:06.000Z' }))
        await transaction.putSession(session('1'))
        await transaction.putSession(session('3', { admin: 'bob', expires_at: '2026-01-01T00:00:00.000Z' }))
      })
      assert.deepEqual(await (await opened.reopen()).session('1'), session('1'))
      assert.equal(await state.session('4'), undefined)
      await state.change(async transaction => {
        assert.deepEqual(
          (await transaction.sessionsOf('alice')).map(({ id_hash }) => id_hash),
          ['1', '2'],
        )
        await transaction.putSession(session('1', { ended_at: AT }))
        assert.equal((await transaction.session('1'))?.ended_at, AT)
        assert.equal((await transaction.sessionsOf('alice')).length, 1)
        await transaction.forgetSessions('2026-01-02T00:00:00.000Z')
      })
      assert.equal((await state.session('1'))?.ended_at, AT)
      assert.equal(await state.session('3'), undefined)
    },
  )

  prove('meta facts are kept', async ({ state }) => {
    await state.change(async transaction => {
      assert.equal(await transaction.meta('fact'), undefined)
      await transaction.putMeta('fact', 'a')
      await transaction.putMeta('fact', 'b')
    })
    assert.equal(await state.change(transaction => transaction.meta('fact')), 'b')
  })

  prove('the outbox keeps order and identity; its ids are never used again', async ({ state, reopen }) => {
    const uuids = [randomUUID(), randomUUID(), randomUUID()]
    await state.change(async transaction => {
      for (const [i, uuid] of uuids.entries()) await transaction.addToOutbox(uuid, eventOf(`event ${i}`))
    })
    const rows = await (await reopen()).outbox(0, 10)
    assert.deepEqual(
      rows.map(row => row.uuid),
      uuids,
    )
    assert.deepEqual(rows[1]?.event, eventOf('event 1'))
    assert.deepEqual(await state.outbox(0, 1), rows.slice(0, 1))
    assert.deepEqual(await state.outbox(rows[0]?.id ?? 0, 10), rows.slice(1))
    await state.deleteOutbox(rows[2]?.id ?? 0)
    assert.deepEqual(await state.outbox(0, 10), [])
    await state.change(transaction => transaction.addToOutbox(randomUUID(), eventOf('later')))
    assert.ok(((await state.outbox(0, 10))[0]?.id ?? 0) > (rows[2]?.id ?? 0))
  })
}
