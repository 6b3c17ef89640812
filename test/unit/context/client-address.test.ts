import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import {
  canonicalAddress,
  createAddressResolver,
  networkOf,
  parseTrustedProxies,
} from '../../../src/context/client-address.ts'

const resolver = (...trusted: string[]) => createAddressResolver(parseTrustedProxies(trusted))

test('client address: the socket counts, and a header from a stranger is ignored', () => {
  assert.equal(resolver()('192.0.2.1', '203.0.113.9'), '192.0.2.1')
  assert.equal(resolver('10.0.0.0/8')('192.0.2.1', '203.0.113.9'), '192.0.2.1')
})

test('client address: behind a trusted proxy it is the right-most address that is not a trusted proxy', () => {
  const resolve = resolver('10.0.0.0/8', '2001:db8::/32')
  assert.equal(resolve('10.0.0.1', '203.0.113.9'), '203.0.113.9')
  assert.equal(resolve('10.0.0.1', '1.1.1.1, 203.0.113.9, 10.0.0.2'), '203.0.113.9')
  assert.equal(resolve('::ffff:10.0.0.1', '203.0.113.9'), '203.0.113.9')
  assert.equal(resolve('2001:db8::5', '2001:DB9:0::1'), '2001:db9::1')
  assert.equal(resolve('10.0.0.1', '10.0.0.2'), '10.0.0.2')
})

test('client address: an IPv4 address is one and the same in every spelling that IPv6 has for it', () => {
  const spellings = [
    '203.0.113.9',
    '::FFFF:203.0.113.9',
    '::ffff:cb00:7109',
    '0:0:0:0:0:ffff:203.0.113.9',
    '::ffff:cb00:7109%eth0',
  ]
  for (const spelling of spellings) {
    assert.equal(canonicalAddress(spelling), '203.0.113.9', spelling)
    assert.equal(resolver('10.0.0.0/8')('10.0.0.1', spelling), '203.0.113.9')
  }
  assert.equal(resolver('10.0.0.0/8')('10.0.0.1', '203.0.113.9, 0:0:0:0:0:ffff:a00:5'), '203.0.113.9')
})

test('client address: text that is no address ends the walk at the last hop that is one', () => {
  const resolve = resolver('10.0.0.0/8')
  assert.equal(resolve('10.0.0.1', 'evil\u001b[31m'), '10.0.0.1')
  assert.equal(resolve('10.0.0.1', '203.0.113.9, nonsense, 10.0.0.3'), '10.0.0.3')
  assert.equal(resolve('10.0.0.1', ''), '10.0.0.1')
})

test('client address: the port that a gateway adds is dropped, and an empty element counts for nothing', () => {
  const resolve = resolver('10.0.0.0/8')
  assert.equal(resolve('10.0.0.1', '203.0.113.9:4711'), '203.0.113.9')
  assert.equal(resolve('10.0.0.1', '1.1.1.1, 203.0.113.9:4711, 10.0.0.2:80'), '203.0.113.9')
  assert.equal(resolve('10.0.0.1', '[2001:DB8::1]:4711'), '2001:db8::1')
  assert.equal(resolve('10.0.0.1', '[2001:db8::1]'), '2001:db8::1')
  assert.equal(resolve('10.0.0.1', '2001:db8::1:4711'), '2001:db8::1:4711')
  for (const none of ['203.0.113.9:', '203.0.113.9:123456', '[]:1', '[203.0.113.9', '[x]:1', ':80']) {
    assert.equal(resolve('10.0.0.1', `192.0.2.7, ${none}`), '10.0.0.1', none)
  }
  assert.equal(resolve('10.0.0.1', '203.0.113.9, ,'), '203.0.113.9')
  assert.equal(resolve('10.0.0.1', ' ,, '), '10.0.0.1')
})

test('client address: a very long header is walked only so far', () => {
  const header = `203.0.113.9,${Array(10_000).fill('10.0.0.2').join(',')}`
  assert.equal(resolver('10.0.0.0/8')('10.0.0.1', header), '10.0.0.2')
})

test('client address: whatever the header holds, the answer is an address (property)', () => {
  const resolve = resolver('10.0.0.0/8')
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string())).map(hops => hops.join(',')),
      ),
      header => {
        assert.notEqual(canonicalAddress(resolve('10.0.0.1', header)), undefined)
      },
    ),
  )
})

test('client address: bad proxy lists are refused', () => {
  for (const bad of ['10.0.0.0/33', '10.0.0/8', 'proxy.example', '::/129', '10.0.0.1/8/9', '10.0.0.1/', '']) {
    assert.throws(() => parseTrustedProxies([bad]), TypeError, bad)
  }
})

test('client address: an IPv6 address counts under its /64 however it is compressed', () => {
  assert.equal(networkOf('192.0.2.1'), '192.0.2.1')
  assert.equal(networkOf('2001:db8::1'), '2001:db8:0:0::/64')
  assert.equal(networkOf('2001:db8:0:0:1:2:3:4'), '2001:db8:0:0::/64')
  assert.equal(networkOf('::1'), '0:0:0:0::/64')
  assert.equal(networkOf('fe80::'), 'fe80:0:0:0::/64')
})
