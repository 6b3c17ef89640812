/** The secrets of instances that share a database. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { createPostgres } from '../../../src/postgres/postgres.ts'
import { openPostgresSecurityState } from '../../../src/security/postgres-security-state.ts'
import { sharedSecrets } from '../../../src/service/secrets.ts'
import { readSettings, SettingsError } from '../../../src/settings/settings.ts'
import { postgresServer } from '../../harness/postgres.ts'

const server = postgresServer()

async function openStates(t: TestContext, count: number) {
  const url = await server.createDatabase()
  const states = await Promise.all(
    Array.from({ length: count }, (_, i) =>
      openPostgresSecurityState({ postgres: createPostgres({ url, connectionsMax: 2 }), instance: `${i}` }),
    ),
  )
  t.after(() => Promise.all(states.map(state => state.close())))
  return states
}

function warnings() {
  const said: string[] = []
  return { said, logger: { warn: (text: string) => void said.push(text) } as never }
}

test('secrets: of ten instances that start at once without any, one makes them and all have the same', async t => {
  const states = await openStates(t, 10)
  const { said, logger } = warnings()
  const found = await Promise.all(states.map(state => sharedSecrets(readSettings({}), state, logger)))
  const texts = found.map(({ tokenSecret, keyEncryptionKey }) =>
    Buffer.concat([tokenSecret, keyEncryptionKey]).toString(),
  )
  assert.equal(new Set(texts).size, 1)
  assert.equal(texts[0]?.length, 128)
  assert.deepEqual(found[0]?.generated, ['EVC_TOKEN_SECRET', 'EVC_KEY_ENCRYPTION_KEY'])
  assert.deepEqual(said, [])
})

test('secrets: given ones are used, none is made in production, and another token secret than the last is said', async t => {
  const [state] = await openStates(t, 1)
  assert.ok(state)
  const { said, logger } = warnings()
  const production = { NODE_ENV: 'production' }
  await assert.rejects(sharedSecrets(readSettings(production), state, logger), SettingsError)
  const given = { ...production, EVC_TOKEN_SECRET: 't'.repeat(32), EVC_KEY_ENCRYPTION_KEY: 'k'.repeat(32) }
  for (let start = 0; start < 2; start++) {
    const secrets = await sharedSecrets(readSettings(given), state, logger)
    assert.equal(Buffer.from(secrets.tokenSecret).toString(), given.EVC_TOKEN_SECRET)
    assert.deepEqual(secrets.generated, [])
  }
  assert.deepEqual(said, [])
  await sharedSecrets(readSettings({ ...given, EVC_TOKEN_SECRET: 'u'.repeat(32) }), state, logger)
  assert.match(said.join(), /EVC_TOKEN_SECRET/)
})
