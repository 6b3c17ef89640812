import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { startTestCentral } from './harness.ts'

/** Made for this test, of 127.0.0.1 and nobody; worth nothing. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBjzCCATagAwIBAgIUMurOJvsX+OhL+J4MSeKAQiCHQtQwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDAwMTY0MFoYDzIxMjYxMDMx
MDAxNjQwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATyxkeK2FHnHZmHJ/CDnY3Gb/WB9+RsmX5RwxKvZcQSNfWdgVi1qbyJ
iqPXfoU4Z1JYwSUtGAhHMCgthzHDbReDo2QwYjAdBgNVHQ4EFgQUsLJNsHnCRB+u
mRje7XZ9H1kZo3IwHwYDVR0jBBgwFoAUsLJNsHnCRB+umRje7XZ9H1kZo3IwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0cAMEQC
IBc77xDlp3j9h782F5ed58rrRydSn2+Bi+Y9iOQKlApnAiBs/L5oY3/QjKH530g7
SbjaXk17lQXPkFIseFRvuszxNw==
-----END CERTIFICATE-----
`
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPq+y/RXrtUExLTTH
owNCUeCBkONdnP6qCXYieyxXUc2hRANCAATyxkeK2FHnHZmHJ/CDnY3Gb/WB9+Rs
mX5RwxKvZcQSNfWdgVi1qbyJiqPXfoU4Z1JYwSUtGAhHMCgthzHDbReD
-----END PRIVATE KEY-----
`

test('TLS: serves HTTPS only, and tells browsers to stay with it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'evc-tls-'))
  const files = { EVC_TLS_CERT: join(folder, 'cert.pem'), EVC_TLS_KEY: join(folder, 'key.pem') }
  writeFileSync(files.EVC_TLS_CERT, CERTIFICATE)
  writeFileSync(files.EVC_TLS_KEY, KEY)
  const central = await startTestCentral(files)
  try {
    assert.match(central.url, /^https:/)
    const answer = await get(`${central.url}/health`)
    assert.equal(answer.status, 200)
    assert.equal(answer.security, 'max-age=31536000')
    assert.equal(await central.raw(['GET /health HTTP/1.1\r\nHost: x\r\n\r\n'], { patienceMs: 500 }), '')
    assert.equal((await get(`${central.url}/health`)).status, 200)
  } finally {
    await central.close()
    rmSync(folder, { recursive: true })
  }
})

function get(url: string): Promise<{ status: number | undefined; security: string | undefined }> {
  const { promise, resolve, reject } = Promise.withResolvers<{
    status: number | undefined
    security: string | undefined
  }>()
  request(url, { rejectUnauthorized: false, agent: false }, response => {
    response.resume()
    response.on('end', () =>
      resolve({ status: response.statusCode, security: response.headers['strict-transport-security'] }),
    )
  })
    .on('error', reject)
    .end()
  return promise
}
