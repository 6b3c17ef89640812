/** security.db cannot be written: what must change state is refused and changes nothing, logins go on, it heals by itself. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createCipheriv, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { failureOf } from '../../src/cli/outcome.ts'
import { createSqliteSecurityState } from '../../src/security/sqlite-security-state.ts'
import { auditRows, eventually } from '../harness/rows.ts'
import { securityDump } from '../harness/security-dump.ts'
import { send, startServiceProcess } from '../harness/service-process.ts'
import { answerOf, CHANGES, seed } from './every-change.ts'
import { dataFolderOnSmallDisk } from './small-disk.ts'

/** How long after the cause is gone everything has to work again. */
const RECOVERY_MS = 5_000
const UNAVAILABLE = [503, 'STATE_UNAVAILABLE', true]

type Login = Awaited<ReturnType<typeof seed>>

const logIn = (url: string, login: Login, requestId: string) =>
  send(url, 'POST', '/auth/credentials', login, { 'x-request-id': requestId })

/** A message that CP-1 has encrypted for us, and the header it is sent with. */
async function sealedMessage(url: string, login: Login) {
  const { body } = await logIn(url, login, 'seal')
  const authorization = { authorization: `Bearer ${body.token}` }
  const { body: current } = await send(url, 'GET', '/keys/current', undefined, authorization)
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(String(current.key), 'base64'), nonce)
  cipher.setAAD(Buffer.from(login.cp_id))
  const sealed = Buffer.concat([nonce, cipher.update('hello'), cipher.final(), cipher.getAuthTag()])
  return { headers: authorization, payload: sealed.toString('base64') }
}

/** Everything that has to hold while the database cannot be written. */
async function refusesChangesOnly(url: string, dataDir: string, login: Login, before: string): Promise<void> {
  for (let i = 0; i < 10; i++) {
    assert.equal((await logIn(url, login, `right-${i}`)).status, 200)
    const wrong = { ...login, credentials: 'f'.repeat(64) }
    assert.match(String((await logIn(url, wrong, `wrong-${i}`)).status), /^(401|429)$/)
  }
  const { body } = await logIn(url, login, 'token')
  const again = await send(url, 'POST', '/auth/token', { cp_id: login.cp_id, token: body.token }, {})
  assert.equal(again.status, 200)
  const answers = await Promise.all(CHANGES.map(change => answerOf(url, change)))
  for (const [i, answer] of answers.entries()) assert.deepEqual(answer, UNAVAILABLE, String(CHANGES[i]))
  for (const path of ['/charge-points', '/security/status/CP-1', '/audit/events']) {
    assert.equal((await send(url, 'GET', path)).status, 200, path)
  }
  const ready = await send(url, 'GET', '/ready')
  assert.equal(ready.status, 503)
  assert.match(String(ready.body.detail), /security_state/)
  assert.equal(securityDump(dataDir), before)
}

/** After the cause is gone, in the same process. */
async function heals(url: string, dataDir: string): Promise<void> {
  const deadline = performance.now() + RECOVERY_MS
  await eventually(
    () => send(url, 'GET', '/ready'),
    // The small disk is smaller than what the service wants to have free.
    ({ body }) => !String(body.detail).includes('security_state'),
    RECOVERY_MS,
  )
  const change = await send(url, 'POST', '/keys/reset', { cp_id: 'CP-1' })
  assert.equal(change.status, 200)
  assert.ok(performance.now() < deadline)
  const rows = await eventually(
    () => auditRows(dataDir, "action LIKE 'AUTH_%' AND request_id GLOB '[rw]*-[0-9]' OR action = 'KEY_RESET'"),
    found => found.length >= 21,
  )
  assert.equal(rows.length, 21)
  assert.deepEqual(auditRows(dataDir, "action IN ('ERROR', 'KEY_REVOKE', 'STATUS_CHANGE')"), [])
}

test('security.db on a full disk: changes are 503 and change nothing, logins go on, all works when there is room', async t => {
  const disk = dataFolderOnSmallDisk(t, 'security', '2m')
  if (disk === undefined) return
  const { dataDir } = disk
  const service = await startServiceProcess(dataDir)
  t.after(() => service.kill('SIGKILL'))
  const login = await seed(service.url)
  const message = await sealedMessage(service.url, login)
  const before = securityDump(dataDir)
  const sendMessage = () => send(service.url, 'POST', '/messages', { payload: message.payload }, message.headers)

  disk.fill()
  await refusesChangesOnly(service.url, dataDir, login, before)
  // Against being played again: what cannot be remembered is not accepted.
  const closed = await sendMessage()
  assert.deepEqual([closed.status, closed.body.code], [503, 'STATE_UNAVAILABLE'])

  disk.empty()
  await eventually(sendMessage, answer => answer.status === 200, RECOVERY_MS)
  assert.equal((await sendMessage()).body.code, 'TAMPERING_DETECTED', 'accepted once')
  await heals(service.url, dataDir)
  assert.equal(await service.kill('SIGTERM'), 0)
})

test('security.db on a full disk that has no room to open it: the start says so and what to do, and works when there is room', async t => {
  const disk = dataFolderOnSmallDisk(t, 'security', '1m')
  if (disk === undefined) return
  const path = join(disk.dataDir, 'security', 'security.db')
  await createSqliteSecurityState({ path }).close()
  rmSync(`${path}-shm`, { force: true })
  disk.fill()
  assert.throws(
    () => createSqliteSecurityState({ path }),
    error => {
      const { exitCode, message } = failureOf(error)
      assert.equal(exitCode, 1)
      assert.match(message, /security database cannot be opened: its disk is full .* Make room, then try again/)
      return true
    },
  )
  disk.empty()
  await createSqliteSecurityState({ path }).close()
})

test('security.db locked by another process: changes are 503 in time, logins go on, all works when it is released', async t => {
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-locked-'))
  t.after(() => rmSync(dataDir, { recursive: true, force: true }))
  const service = await startServiceProcess(dataDir)
  t.after(() => service.kill('SIGKILL'))
  const login = await seed(service.url)
  const before = securityDump(dataDir)

  const locker = await lock(t, join(dataDir, 'security', 'security.db'))
  await refusesChangesOnly(service.url, dataDir, login, before)
  locker.kill('SIGKILL')
  await once(locker, 'exit')
  await heals(service.url, dataDir)
  assert.equal(await service.kill('SIGTERM'), 0)
})

/** Another process that holds the database until it is killed. */
async function lock(t: TestContext, path: string): Promise<ChildProcess> {
  const script = `
    const { DatabaseSync } = require('node:sqlite')
    new DatabaseSync(process.argv[1], { timeout: 5000 }).exec('BEGIN EXCLUSIVE')
    console.log('locked')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['-e', script, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child
}
