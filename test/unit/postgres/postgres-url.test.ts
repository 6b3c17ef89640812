import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { formatPostgresAddress, parsePostgresUrl } from '../../../src/postgres/postgres-url.ts'

test('PostgreSQL URL: parts are decoded, and the address is shown without the password', () => {
  const address = parsePostgresUrl('postgresql://us%40er:p%3Ass@[::1]:5433/ev%20c?application_name=one')
  assert.deepEqual(address, {
    host: '::1',
    port: 5433,
    user: 'us@er',
    password: 'p:ss',
    database: 'ev c',
    ssl: false,
    applicationName: 'one',
  })
  assert.equal(formatPostgresAddress(address), 'postgres://us%40er@[::1]:5433/ev%20c')
})

test('PostgreSQL URL: TLS as libpq means it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evc-url-'))
  const ca = join(folder, 'ca.pem')
  const authority = '-----BEGIN CERTIFICATE-----\n'
  writeFileSync(ca, authority)
  const ssl = (query: string) => parsePostgresUrl(`postgres://u@h/d?${query}`).ssl
  assert.equal(ssl('sslmode=disable'), false)
  assert.deepEqual(ssl('sslmode=require'), { rejectUnauthorized: false })
  assert.deepEqual(ssl('sslmode=verify-full'), {})
  assert.deepEqual(ssl(`sslmode=verify-full&sslrootcert=${ca}`), { ca: authority })
  for (const mode of ['verify-ca', 'require']) {
    const { ca: given, ...rest } = ssl(`sslmode=${mode}&sslrootcert=${ca}`) || {}
    assert.equal(given, authority)
    assert.deepEqual(Object.keys(rest), ['checkServerIdentity'])
  }
  rmSync(folder, { recursive: true })
})

test('PostgreSQL URL: what is easily written wrong is told in words', () => {
  const wrong = {
    'postgres://u:50%off@h/d': /has a % that begins no escape; the character itself is written %25/,
    'postgres://u:p@h1,h2/d': /names several hosts, and has to name one/,
    'postgres://u:p@h1:5432,h2:5432/d': /names several hosts, and has to name one/,
    'postgres://u:p@h/d?sslmode=verify-full&sslrootcert=package.json': /as sslrootcert that is not in PEM/,
  }
  for (const [url, message] of Object.entries(wrong)) assert.throws(() => parsePostgresUrl(url), { message })
})

test('PostgreSQL URL: whatever is not understood is refused, without showing the password', () => {
  const wrong = [
    'mysql://u:s3cr3t@h/d',
    'postgres://u:s3cr3t@h:port/d',
    'postgres://u:s3cr3t@h',
    'postgres://:s3cr3t@h/d',
    'postgres://u:s3cr3t@h/d?sslmod=verify-full',
    'postgres://u:?s3cr3t@h/d',
    'postgres://u:42?s3cr3t&more@h/d',
    'postgres://u:42?a&s3cr3t',
    'postgres://u:s3cr3t@h/d?sslmode=prefer',
    'postgres://u:s3cr3t@h/d?sslmode=verify-full&sslmode=disable',
    'postgres://u:s3cr3t@h/d#?sslmode=verify-full',
    'postgres://u:s3cr3t@h/d?sslmode=allow',
    'postgres://u:s3cr3t@h/d?sslmode=verify-ca',
    'postgres://u:s3cr3t@h/d?sslrootcert=/no/such/file',
    'postgres://u:s3cr3t@h/d?sslmode=verify-full&sslrootcert=/no/such/file',
  ]
  for (const url of wrong) {
    assert.throws(
      () => parsePostgresUrl(url),
      error => error instanceof Error && !error.message.includes('s3cr3t'),
      url,
    )
  }
})
