import assert from 'node:assert/strict'
import test from 'node:test'
import { isEveryAddress, listeningUrl } from '../../../src/service/listening-url.ts'

const on = (host: string, tlsCertFile?: string) => listeningUrl({ host, port: 0, tlsCertFile }, bound)
const bound = { address: '', family: '', port: 8080 }

test('listening address: what is shown can be connected to, also when every address is listened on', () => {
  assert.equal(on('0.0.0.0'), 'http://127.0.0.1:8080')
  assert.equal(on('::'), 'http://[::1]:8080')
  assert.equal(on('127.0.0.1'), 'http://127.0.0.1:8080')
  assert.equal(on('::1', 'cert.pem'), 'https://[::1]:8080')
  assert.equal(on('charging.example'), 'http://charging.example:8080')
  assert.deepEqual(['0.0.0.0', '::', '127.0.0.1', 'toString'].map(isEveryAddress), [true, true, false, false])
})
