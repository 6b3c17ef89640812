/**
 * The suite every event store is held to. `create` opens a store on the database of that name (made empty at its first
 * use); two stores of one name are two writers on one database.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import type { AuditEvent } from '../../src/event/event.ts'
import { COLUMNS } from '../../src/event/event.ts'
import type { Appended, Batch, EventStore, Row } from '../../src/store/event-store.ts'

export interface StoreFactory {
  create(database: string, clock?: () => number): EventStore | Promise<EventStore>
  /** Removes all databases. */
  cleanUp(): Promise<void> | void
}

export function sampleEvent(n: number, fields: Partial<AuditEvent> = {}): AuditEvent {
  return {
    date_time: new Date(Date.UTC(2026, 0, 1) + n * 1000).toISOString(),
    who: `CP-${n % 7}`,
    ip: `10.0.0.${n % 5}`,
    action: 'AUTH_FAIL',
    description: `event ${n}`,
    severity: 'WARN',
    reason_code: 'INVALID_CREDENTIALS',
    request_id: `request-${n}`,
    endpoint: '/auth/credentials',
    http_method: 'POST',
    status_code: 401,
    metadata_json: `{"n":${n}}`,
    ...fields,
  }
}

export function rowsFrom(first: number, count: number): Row[] {
  return Array.from({ length: count }, (_, i) => ({ event: sampleEvent(first + i), onceKey: null }))
}

export function batchOf(after: number, rows: readonly Row[], source = 'journal:a'): Batch {
  return { source, after, through: after + rows.length, rows }
}

const written = ({ lastId, written }: Appended) => ({ lastId, written })

async function allEvents(store: EventStore) {
  const events = []
  for (let id = 1; id <= (await store.lastId()); id++) events.push(await store.get(id))
  return events
}

/** What a store can do; whatever it cannot, it has to do in the way that a test of its own says. */
export interface StoreAbilities {
  /** Keeps NUL, and texts of any length in indexed columns. */
  readonly holdsAnyText: boolean
}

export function eventStoreContract(
  name: string,
  start: () => StoreFactory,
  { holdsAnyText }: StoreAbilities = { holdsAnyText: true },
): void {
  const contract = (title: string, body: (factory: StoreFactory) => Promise<void>) =>
    test(`${name}: ${title}`, async () => {
      const factory = start()
      try {
        await body(factory)
      } finally {
        await factory.cleanUp()
      }
    })

  contract('a new store is empty', async factory => {
    const store = await factory.create('new')
    assert.equal(await store.lastId(), 0)
    assert.equal(await store.position('journal:a'), 0)
    assert.equal(await store.get(1), undefined)
    await store.close()
  })

  contract('a batch becomes rows with ids from 1, in order, and moves its position', async factory => {
    const store = await factory.create('append')
    assert.deepEqual(written(await store.append(batchOf(0, rowsFrom(0, 3)))), { lastId: 3, written: 3 })
    assert.deepEqual(written(await store.append(batchOf(3, rowsFrom(3, 2)))), { lastId: 5, written: 2 })
    assert.equal(await store.position('journal:a'), 5)
    const events = await allEvents(store)
    assert.deepEqual(
      events.map(event => [event?.id, event?.description]),
      [1, 2, 3, 4, 5].map(id => [id, `event ${id - 1}`]),
    )
    await store.close()
  })

  contract('a stored event has exactly the 14 columns and the time it was inserted', async factory => {
    const store = await factory.create('columns', () => Date.UTC(2026, 4, 6, 7, 8, 9, 12))
    await store.append(batchOf(0, rowsFrom(0, 1)))
    const event = await store.get(1)
    assert.deepEqual(Object.keys(event ?? {}), COLUMNS)
    assert.deepEqual(event, { id: 1, ...sampleEvent(0), created_at: '2026-05-06T07:08:09.012Z' })
    await store.close()
  })

  contract('a given created_at is kept as it is', async factory => {
    const store = await factory.create('created')
    await store.append(batchOf(0, [{ event: sampleEvent(0), onceKey: null, createdAt: '2025-12-14 06:00:05' }]))
    assert.equal((await store.get(1))?.created_at, '2025-12-14 06:00:05')
    await store.close()
  })

  contract('null columns stay null', async factory => {
    const store = await factory.create('nulls')
    const nulls = { reason_code: null, request_id: null, endpoint: null, http_method: null }
    const event = sampleEvent(0, { ...nulls, status_code: null, metadata_json: null })
    await store.append(batchOf(0, [{ event, onceKey: null }]))
    const { id: _id, created_at: _createdAt, ...stored } = (await store.get(1)) ?? assert.fail()
    assert.deepEqual(stored, event)
    await store.close()
  })

  contract('rows and positions are there after closing and opening again', async factory => {
    const first = await factory.create('reopen')
    await first.append(batchOf(0, rowsFrom(0, 4)))
    await first.close()
    const second = await factory.create('reopen')
    assert.equal(await second.lastId(), 4)
    assert.equal(await second.position('journal:a'), 4)
    await second.close()
  })

  contract('a batch from another position than the source is at is refused and writes nothing', async factory => {
    const store = await factory.create('moved')
    await store.append(batchOf(0, rowsFrom(0, 2)))
    for (const after of [0, 1, 3]) {
      await assert.rejects(store.append(batchOf(after, rowsFrom(9, 1))), { name: 'StoreError', code: 'POSITION_MOVED' })
    }
    assert.equal(await store.lastId(), 2)
    assert.equal(await store.position('journal:a'), 2)
    await store.close()
  })

  contract('the same batch offered again after a success is refused, so nothing is doubled', async factory => {
    const store = await factory.create('again')
    const batch = batchOf(0, rowsFrom(0, 2))
    await store.append(batch)
    await assert.rejects(store.append(batch), { code: 'POSITION_MOVED' })
    assert.equal(await store.lastId(), 2)
    await store.close()
  })

  contract('each source has its own position', async factory => {
    const store = await factory.create('sources')
    await store.append(batchOf(0, rowsFrom(0, 2), 'journal:a'))
    await store.append(batchOf(0, rowsFrom(2, 1), 'journal:b'))
    await store.append(batchOf(2, rowsFrom(3, 1), 'journal:a'))
    assert.deepEqual([await store.position('journal:a'), await store.position('journal:b')], [3, 1])
    assert.deepEqual(
      (await allEvents(store)).map(event => event?.description),
      ['event 0', 'event 1', 'event 2', 'event 3'],
    )
    await store.close()
  })

  contract('a batch without rows moves the position', async factory => {
    const store = await factory.create('empty-batch')
    assert.deepEqual(written(await store.append({ source: 's', after: 0, through: 9, rows: [] })), {
      lastId: 0,
      written: 0,
    })
    assert.equal(await store.position('s'), 9)
    await store.close()
  })

  contract('a batch with a row that cannot be written leaves nothing behind', async factory => {
    const store = await factory.create('atomic')
    const key = '11111111-1111-4111-8111-111111111111'
    const broken = { ...sampleEvent(2), who: null } as unknown as AuditEvent
    const rows = [...rowsFrom(0, 2), { event: sampleEvent(5), onceKey: key }, { event: broken, onceKey: null }]
    await assert.rejects(store.append(batchOf(0, rows)))
    assert.equal(await store.lastId(), 0)
    assert.equal(await store.position('journal:a'), 0)
    const again = await store.append(batchOf(0, [{ event: sampleEvent(5), onceKey: key }]))
    assert.deepEqual(written(again), { lastId: 1, written: 1 }, 'neither the id nor the once key is used up')
    await store.close()
  })

  contract('rows of one once key are written once, ever, and leave no gap in the ids', async factory => {
    const store = await factory.create('once')
    const keys = ['0198c0de-0000-7000-8000-000000000001', 'ab'.repeat(32), 'any text']
    const keyed = keys.map((onceKey, i) => ({ event: sampleEvent(i), onceKey }))
    assert.equal((await store.append(batchOf(0, [...keyed, ...keyed]))).written, 3)
    const mixed = [...keyed, ...rowsFrom(50, 1)]
    assert.deepEqual(written(await store.append(batchOf(6, mixed))), { lastId: 4, written: 1 })
    assert.equal((await store.append(batchOf(0, keyed, 'journal:b'))).written, 0, 'whatever the source')
    await store.close()
    const reopened = await factory.create('once')
    assert.equal((await reopened.append(batchOf(10, keyed))).written, 0)
    assert.equal((await reopened.get(4))?.description, 'event 50')
    await reopened.close()
  })

  contract('hostile text comes back as it was given', async factory => {
    const store = await factory.create('hostile')
    const texts = [
      "'; DROP TABLE audit_events; --",
      ...(holdsAnyText ? ['NUL \u0000 inside', 'x'.repeat(60_000)] : []),
      '\u001b[31mred\u001b[0m \r\n line \u202e bidi',
      '"quotes", `ticks`, \\ and %s',
      '🔌 \u00e9 e\u0301 \ufeff \uffff',
      '',
      '\\N',
      'tab\tand \\t',
    ]
    const rows = texts.map((text, i) => ({
      event: sampleEvent(i, {
        who: text,
        ip: text,
        description: text,
        reason_code: text,
        request_id: text,
        metadata_json: text,
      }),
      onceKey: null,
    }))
    await store.append(batchOf(0, rows))
    for (const [i, text] of texts.entries()) {
      const { who, ip, description, reason_code, request_id, metadata_json } = (await store.get(i + 1)) ?? assert.fail()
      assert.deepEqual([who, ip, description, reason_code, request_id, metadata_json], Array(6).fill(text))
    }
    await store.close()
  })

  contract('two writers take turns, and ids have neither gaps nor doubles', async factory => {
    const stores = [await factory.create('two'), await factory.create('two')] as const
    for (let i = 0; i < 40; i++) {
      const which = i % 2
      await stores[which]?.append(batchOf(((i - which) * 3) / 2, rowsFrom(i * 3, 3), `journal:${which}`))
    }
    const events = await allEvents(stores[0])
    assert.deepEqual(
      events.map(event => event?.id),
      Array.from({ length: 120 }, (_, i) => i + 1),
    )
    assert.equal(new Set(events.map(event => event?.request_id)).size, 120)
    assert.equal(await stores[1].lastId(), 120)
    for (const store of stores) await store.close()
  })

  contract('two writers of one source: one is told that the position moved', async factory => {
    const [one, other] = [await factory.create('race'), await factory.create('race')]
    await one.append(batchOf(0, rowsFrom(0, 1)))
    await assert.rejects(other.append(batchOf(0, rowsFrom(0, 1))), { code: 'POSITION_MOVED' })
    assert.equal((await other.append(batchOf(await other.position('journal:a'), rowsFrom(1, 1)))).lastId, 2)
    await one.close()
    await other.close()
  })

  contract('a checkpoint changes nothing that can be read', async factory => {
    const store = await factory.create('checkpoint')
    await store.checkpoint()
    await store.append(batchOf(0, rowsFrom(0, 10)))
    await store.checkpoint()
    await store.append(batchOf(10, rowsFrom(10, 10)))
    assert.equal(await store.lastId(), 20)
    await store.checkpoint()
    await store.close()
    const reopened = await factory.create('checkpoint')
    assert.equal((await reopened.get(20))?.description, 'event 19')
    await reopened.close()
  })

  contract('a closed store refuses as unavailable', async factory => {
    const store = await factory.create('closed')
    await store.append(batchOf(0, rowsFrom(0, 1)))
    await store.close()
    await store.close()
    await assert.rejects(store.append(batchOf(1, rowsFrom(1, 1))), { code: 'UNAVAILABLE' })
  })
}
