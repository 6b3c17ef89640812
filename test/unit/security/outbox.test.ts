import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { pino } from 'pino'
import * as events from '../../../src/audit/events.ts'
import { createContext, currentContext, runInContext } from '../../../src/context/context.ts'
import { createFailurePolicy } from '../../../src/security/failure-policy.ts'
import { createOutbox } from '../../../src/security/outbox.ts'
import { auditOver, LOGGER, memoryJournal, OPERATOR, openSecurity } from './security-under-test.ts'

const OPEN = createFailurePolicy([], async () => false)
const recordOne = (description: string) => events.system('CP_REGISTERED', undefined, { description })

test('outbox: an event is in the journal when the change resolves, and its row goes once it is durable', async t => {
  const central = await openSecurity(t)
  await central.register('CP-1')
  assert.equal(central.journal.entries.length, 1)
  const [row] = await central.state.outbox(0, 10)
  assert.equal(row?.uuid, central.journal.entries[0]?.outboxId)
  assert.deepEqual(row?.event, central.last())
  await central.close()
  const reopened = await openSecurity(t, { path: central.path })
  assert.deepEqual(await reopened.state.outbox(0, 10), [])
})

test('outbox: while the journal is full rows wait, then go out in order, each once', async t => {
  const central = await openSecurity(t)
  const outbox = createOutbox({ state: central.state, audit: central.audit, policy: OPEN, logger: LOGGER })
  central.journal.isFull = true
  for (let i = 0; i < 250; i++) await outbox.change('admin', transaction => transaction.record(recordOne(`event ${i}`)))
  await outbox.trim()
  assert.equal(central.journal.entries.length, 0)
  assert.equal((await central.state.outbox(0, 1000)).length, 250)
  central.journal.isFull = false
  await outbox.deliver()
  assert.deepEqual(
    central.events().map(event => event.description),
    Array.from({ length: 250 }, (_, i) => `event ${i}`),
  )
  await outbox.trim()
  assert.equal((await central.state.outbox(0, 1000)).length, 0)
})

test('outbox: a row is kept while the journal is late, and delivered again by the next process under its uuid', async t => {
  const central = await openSecurity(t)
  central.journal.isStalled = true
  await central.register('CP-1')
  await central.close()
  assert.equal(central.journal.entries.length, 1)
  const next = await openSecurity(t, { path: central.path })
  assert.equal(next.journal.entries.length, 1)
  assert.deepEqual(next.journal.entries, central.journal.entries)
})

test('outbox: each event is delivered in the context of its own request', async t => {
  const central = await openSecurity(t)
  const seen: (string | undefined)[] = []
  const audit = auditOver(memoryJournal())
  const watched = {
    ...audit,
    deliver: (...row: Parameters<typeof audit.deliver>) => {
      seen.push(currentContext()?.requestId)
      return audit.deliver(...row)
    },
  }
  const outbox = createOutbox({ state: central.state, audit: watched, policy: OPEN, logger: LOGGER })
  const request = (requestId: string) =>
    runInContext(createContext({ requestId }), () => outbox.change('admin', tx => tx.record(recordOne(requestId))))
  await Promise.all(['a', 'b', 'c'].map(request))
  assert.deepEqual(seen, ['a', 'b', 'c'])
})

test('outbox: a state that cannot be read is told once until it can be', async t => {
  const central = await openSecurity(t)
  let isAway = true
  const state = {
    ...central.state,
    outbox: async (...asked: Parameters<typeof central.state.outbox>) => {
      if (isAway) throw new Error('away')
      return central.state.outbox(...asked)
    },
  }
  const told: string[] = []
  const logger = pino({ level: 'warn' }, { write: line => void told.push(JSON.parse(line).msg) })
  const outbox = createOutbox({ state, audit: central.audit, policy: OPEN, logger })
  for (const away of [true, true, false, true, true]) {
    isAway = away
    await outbox.deliver()
  }
  assert.deepEqual(told, Array(2).fill('the outbox could not be read; it is tried again'))
})

test('outbox: a change that fails delivers nothing', async t => {
  const central = await openSecurity(t)
  const outbox = createOutbox({ state: central.state, audit: central.audit, policy: OPEN, logger: LOGGER })
  const failing = outbox.change('admin', async transaction => {
    await transaction.record(recordOne('never'))
    throw new Error('no')
  })
  await assert.rejects(failing, /no/)
  await outbox.deliver()
  assert.deepEqual(central.trail(), [])
})

test('outbox: what another process writes is seen at once, and its event is delivered within a poll', async t => {
  const central = await openSecurity(t)
  const script = `
    import { createSqliteSecurityState } from '${new URL('../../../src/security/sqlite-security-state.ts', import.meta.url)}'
    import { createSecurity } from '${new URL('../../../src/security/create-security.ts', import.meta.url)}'
    const { auditOver, memoryJournal, LOGGER, SECRETS, SETTINGS } = await import('${new URL('./security-under-test.ts', import.meta.url)}')
    const state = createSqliteSecurityState({ path: process.argv[1] })
    const audit = { ...auditOver(memoryJournal()), deliver: () => false }
    const security = await createSecurity({ state, audit, secrets: SECRETS, settings: SETTINGS, logger: LOGGER })
    const { credentials } = await security.chargePoints.register({ cp_id: 'CP-1' }, { name: 'cli', role: 'admin' })
    await security.close()
    await state.close()
    console.log(credentials)`
  const child = spawnSync(process.execPath, ['--input-type=module', '--eval', script, central.path], {
    encoding: 'utf8',
  })
  assert.equal(child.status, 0, child.stderr)
  assert.equal((await central.authentication.byCredentials('CP-1', child.stdout.trim())).cp_id, 'CP-1')
  for (let i = 0; i < 100 && !central.trail().includes('SYSTEM CP_REGISTERED'); i++) await delay(50)
  assert.equal(central.trail().filter(event => event === 'SYSTEM CP_REGISTERED').length, 1)
  await central.keys.generate('CP-1', undefined, OPERATOR)
})
