import assert from 'node:assert/strict'
import crypto, { generateKeyPairSync, sign } from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import test from 'node:test'
import * as node from '../../src/evidence/crypto.ts'
import * as browser from '../../src/evidence/crypto-browser.ts'
import { evidenceCryptoContract } from './evidence-crypto.ts'

evidenceCryptoContract('cryptography in Node', node)
evidenceCryptoContract('cryptography in browsers', browser)

test('cryptography in a Node that lacks ML-DSA: the package says the same', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ml-dsa-44')
  const jwk: Record<string, unknown> = { ...publicKey.export({ format: 'jwk' }) }
  const key = Buffer.from(String(jwk.pub), 'base64url')
  const message = Buffer.from('a checkpoint')
  const signature = new Uint8Array(sign(null, message, privateKey))
  const { createPublicKey } = crypto
  let asked = 0
  crypto.createPublicKey = () => {
    asked++
    throw new Error('Unsupported JWK AKP alg')
  }
  syncBuiltinESMExports()
  try {
    assert.equal(node.verifyMlDsa44(key, message, signature), true)
    signature[7]! ^= 1
    assert.equal(node.verifyMlDsa44(key, message, signature), false)
    assert.equal(node.verifyMlDsa44(key.subarray(1), message, signature), false)
    assert.equal(asked, 3)
  } finally {
    crypto.createPublicKey = createPublicKey
    syncBuiltinESMExports()
  }
})
