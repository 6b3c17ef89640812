/**
 * A process that is killed: `node security-child.ts <folder> <point>`. It registers charge points over the state in the
 * folder and appends delivered events to the file `journal` there, with an fsync each. At the named point it kills itself;
 * at `load` it goes on until it is killed, and prints a line for each answer it would have given.
 */
import { createCipheriv, randomBytes } from 'node:crypto'
import { fsyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import type { Audit } from '../../src/audit/audit.ts'
import { createSecurity } from '../../src/security/create-security.ts'
import type { SecurityState } from '../../src/security/security-state.ts'
import { createSqliteSecurityState } from '../../src/security/sqlite-security-state.ts'
import { auditOver, memoryJournal, OPERATOR, SECRETS, SETTINGS } from '../unit/security/security-under-test.ts'

const [folder = '', point = ''] = process.argv.slice(2)
const die = (): never => {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('unreachable')
}
const journal = openSync(join(folder, 'journal'), 'a')
const state = createSqliteSecurityState({ path: join(folder, 'security.db') })
const failing: SecurityState = {
  ...state,
  change: work =>
    state.change(async transaction => {
      const result = await work(transaction)
      if (point === 'before the commit' && (await transaction.chargePoint('CP-0')) !== undefined) die()
      return result
    }),
  async deleteOutbox(through) {
    if (point === 'before the deletion') die()
    await state.deleteOutbox(through)
    if (point === 'after the deletion') die()
  },
}
const audit: Audit = {
  ...auditOver(memoryJournal()),
  deliver(_event, uuid) {
    if (point === 'before the delivery') die()
    writeSync(journal, `${uuid}\n`)
    fsyncSync(journal)
    return true
  },
}
const logger = pino({ level: 'silent' })
const security = await createSecurity({ state: failing, audit, secrets: SECRETS, settings: SETTINGS, logger })

for (let i = 0; point === 'load' || i < 1; i++) {
  const cpId = `CP-${i}`
  await security.chargePoints.register({ cp_id: cpId }, OPERATOR)
  await security.keys.generate(cpId, undefined, OPERATOR)
  const { key } = await security.keys.current(cpId)
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', Buffer.from(key, 'base64'), nonce)
  cipher.setAAD(Buffer.from(cpId))
  const payload = Buffer.concat([nonce, cipher.update('hello'), cipher.final(), cipher.getAuthTag()]).toString('base64')
  await security.messages.accept(cpId, payload)
  writeSync(1, `${cpId} ${payload}\n`)
}
await security.close() // hands over and trims
