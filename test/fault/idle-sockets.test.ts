/** 5,000 connections that never say anything: the service goes on as if they were not there, and lets go of them. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { auditRows, eventually } from '../harness/rows.ts'
import { send, startServiceProcess } from '../harness/service-process.ts'

const SOCKETS = 5_000
const AT_ONCE = 200

test(`service: ${SOCKETS} idle sockets delay no login, are closed after their time and leave no event`, async t => {
  const dataDir = mkdtempSync(join(tmpdir(), 'evc-idle-'))
  t.after(() => rmSync(dataDir, { recursive: true, force: true }))
  const service = await startServiceProcess(dataDir)
  t.after(() => service.kill('SIGKILL'))
  const { body } = await send(service.url, 'POST', '/charge-points', { cp_id: 'CP-1' })
  const login = { cp_id: 'CP-1', credentials: body.credentials }

  let opened = 0
  let closed = 0
  const sockets: Socket[] = []
  for (let i = 0; i < SOCKETS; i++) {
    const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
    socket.on('connect', () => opened++).on('close', () => closed++)
    socket.on('error', () => {}) // a reset is a close too
    sockets.push(socket.resume())
    if (i % AT_ONCE === 0) await sleep(5)
  }
  t.after(() => {
    for (const socket of sockets) socket.destroy()
  })
  await eventually(
    () => opened,
    count => count === SOCKETS,
  )
  assert.equal(closed, 0, 'all of them are open at the same time')
  for (let i = 0; i < 20; i++) {
    const start = performance.now()
    assert.equal((await send(service.url, 'POST', '/auth/credentials', login, {})).status, 200)
    assert.ok(performance.now() - start < 2_000)
  }
  await eventually(
    () => closed,
    count => count === SOCKETS,
    30_000,
  )
  assert.equal(await service.kill('SIGTERM'), 0)
  assert.deepEqual(auditRows(dataDir, "action IN ('VALIDATION_ERROR', 'ERROR')"), [])
})
