/** What both files of cryptography must answer: known digests and signatures, and false for everything else. */
import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import test from 'node:test'

interface EvidenceCrypto {
  sha256(data: Uint8Array): Uint8Array
  sha256Into(data: Uint8Array, target: Uint8Array, at: number): void
  sha256Base64(data: Uint8Array): string
  shake256(data: Uint8Array, outputLength: number): Uint8Array
  verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean
  verifyMlDsa44(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean
}

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'))

/** RFC 8032, section 7.1, tests 1 to 3. */
const SIGNATURES = [
  {
    key: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    message: '',
    signature:
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  },
  {
    key: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    message: '72',
    signature:
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  },
  {
    key: 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    message: 'af82',
    signature:
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  },
].map(({ key, message, signature }) => ({ key: bytes(key), message: bytes(message), signature: bytes(signature) }))

/** The order of the group, little-endian: a signature with it added to its second half is the same equation again. */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n

export function evidenceCryptoContract(name: string, crypto: EvidenceCrypto): void {
  const { sha256, sha256Into, sha256Base64, shake256, verifyEd25519, verifyMlDsa44 } = crypto

  test(`${name}: SHA-256 of any length is that of Node, in an array that is nobody else's`, () => {
    for (const length of [0, 1, 55, 56, 63, 64, 65, 1000, 65_536]) {
      const data = new Uint8Array(length).map((_, i) => i * 7)
      const digest = sha256(data)
      assert.deepEqual(digest, Uint8Array.from(createHash('sha256').update(data).digest()), `${length}`)
      assert.equal(digest.buffer.byteLength, 32)
      assert.equal(sha256Base64(data), createHash('sha256').update(data).digest('base64'))
      const target = new Uint8Array(40).fill(9)
      sha256Into(data, target, 5)
      assert.deepEqual(target, Uint8Array.from([9, 9, 9, 9, 9, ...digest, 9, 9, 9]))
    }
    const view = new Uint8Array(100).fill(1).subarray(10, 20)
    assert.deepEqual(sha256(view), sha256(new Uint8Array(10).fill(1)))
  })

  test(`${name}: SHAKE256 is that of FIPS 202, as long as it is asked for`, () => {
    // NIST's example for the empty message begins so.
    assert.equal(Buffer.from(shake256(new Uint8Array(), 16)).toString('hex'), '46b9dd2b0ba88d13233b3feb743eeb24')
    for (const outputLength of [1, 32, 136, 137, 4_096]) {
      const data = new Uint8Array(32).fill(outputLength)
      const expected = createHash('shake256', { outputLength }).update(data).digest()
      assert.deepEqual(shake256(data, outputLength), Uint8Array.from(expected))
    }
  })

  test(`${name}: the Ed25519 signatures of RFC 8032, section 7.1, and those of Node`, () => {
    for (const { key, message, signature } of SIGNATURES) assert.ok(verifyEd25519(key, message, signature))
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const key = Uint8Array.from(Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url'))
    const message = new Uint8Array(300).fill(5)
    assert.ok(verifyEd25519(key, message, sign(null, message, privateKey)))
  })

  test(`${name}: an Ed25519 signature with any byte changed, of another message or another key is false`, () => {
    const { key, message, signature } = SIGNATURES[1]!
    for (let at = 0; at < 64; at++) {
      const changed = Uint8Array.from(signature)
      changed[at]! ^= 1
      assert.ok(!verifyEd25519(key, message, changed), `byte ${at}`)
    }
    assert.ok(!verifyEd25519(key, bytes('73'), signature))
    assert.ok(!verifyEd25519(SIGNATURES[0]!.key, message, signature))
  })

  test(`${name}: a second spelling of an Ed25519 signature is false (RFC 8032, section 5.1.7)`, () => {
    const { key, message, signature } = SIGNATURES[1]!
    const scalar = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString('hex')}`) + ORDER
    const larger = Uint8Array.from(Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex')).reverse()
    assert.ok(!verifyEd25519(key, message, Uint8Array.of(...signature.subarray(0, 32), ...larger)))
  })

  test(`${name}: keys and signatures of any other length are false and not an exception`, () => {
    const { key, message, signature } = SIGNATURES[0]!
    for (const length of [0, 31, 33, 63, 65]) {
      const other = new Uint8Array(length)
      assert.ok(!verifyEd25519(other, message, signature))
      assert.ok(!verifyEd25519(key, message, other))
    }
    assert.ok(!verifyEd25519(new Uint8Array(32).fill(255), message, signature), 'no point')
  })

  test(`${name}: ML-DSA-44 signatures of Node, and of nothing else`, () => {
    const { publicKey, privateKey } = generateKeyPairSync('ml-dsa-44')
    const jwk: Record<string, unknown> = { ...publicKey.export({ format: 'jwk' }) }
    const key = Uint8Array.from(Buffer.from(String(jwk.pub), 'base64url'))
    const message = bytes('737562747265652f76310a00')
    const signature = Uint8Array.from(sign(null, message, privateKey))
    assert.deepEqual([key.length, signature.length], [1312, 2420])
    assert.ok(verifyMlDsa44(key, message, signature))
    assert.ok(!verifyMlDsa44(key, bytes('737562747265652f76310a01'), signature))
    assert.ok(
      !verifyMlDsa44(key, message, Uint8Array.from(sign(null, message, { key: privateKey, context: bytes('01') }))),
    )
    // Of the challenge, of the vector z, of the hints and of their counts.
    for (const at of [0, 31, 32, 1_000, 2_335, 2_336, 2_415, 2_416, 2_419]) {
      assert.ok(!verifyMlDsa44(key, message, signature.with(at, signature[at]! ^ 1)), `byte ${at}`)
    }
    for (const at of [0, 31, 32, 1_311]) {
      assert.ok(!verifyMlDsa44(key.with(at, key[at]! ^ 1), message, signature), `byte ${at} of the key`)
    }
    for (const length of [0, 1, 64, 1_311, 1_313, 2_419, 2_421]) {
      assert.ok(!verifyMlDsa44(new Uint8Array(length), message, signature))
      assert.ok(!verifyMlDsa44(key, message, new Uint8Array(length)))
    }
  })
}
