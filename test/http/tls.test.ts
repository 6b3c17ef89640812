import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { CERTIFICATE, KEY } from '../harness/certificate.ts'
import { startTestCentral } from './harness.ts'

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
