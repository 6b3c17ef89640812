/**
 * The client's address: the socket's, unless the peer is a trusted proxy; then the right-most address of
 * X-Forwarded-For that is not a trusted proxy itself. Everything left of it is the client's own claim and is ignored.
 */
import { BlockList, isIP, SocketAddress } from 'node:net'
import { LIMITS } from '../limits.ts'
import { currentContext } from './context.ts'

export type AddressResolver = (peer: string | undefined, forwardedFor: string | undefined) => string

/** @throws {TypeError} when an entry is neither an address nor a CIDR block. */
export function parseTrustedProxies(entries: readonly string[]): BlockList {
  const list = new BlockList()
  for (const entry of entries) {
    const [address = '', prefix, ...rest] = entry.split('/')
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    const bits = family === 'ipv6' ? 128 : 32
    if (isIP(address) === 0 || rest.length > 0) throw new TypeError('not an address or CIDR block')
    if (prefix === undefined) {
      list.addAddress(address, family)
    } else {
      if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) throw new TypeError('not a CIDR prefix length')
      list.addSubnet(address, Number(prefix), family)
    }
  }
  return list
}

/** One spelling per address: IPv4-mapped IPv6 becomes IPv4, IPv6 is compressed as in RFC 5952. Undefined if it is none. */
export function canonicalAddress(text: string): string | undefined {
  const family = isIP(text)
  if (family === 4) return text
  if (family === 0) return undefined
  const bare = text.split('%')[0] as string // a zone index names an interface of this host, not the client
  const { address } = new SocketAddress({ address: bare, family: 'ipv6' })
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address)?.[1] ?? address
}

export function createAddressResolver(trusted: BlockList): AddressResolver {
  const isTrusted = (address: string) => trusted.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')
  const peers = new Map<string, string>() // raw peer -> canonical; a handful of proxies or a fleet, bounded below

  function canonicalPeer(peer: string): string {
    const known = peers.get(peer)
    if (known !== undefined) return known
    const address = canonicalAddress(peer) ?? '-'
    if (peers.size >= 10_000) peers.clear()
    peers.set(peer, address)
    return address
  }

  return (peer, forwardedFor) => {
    let address = peer === undefined ? '-' : canonicalPeer(peer)
    if (forwardedFor === undefined || address === '-' || !isTrusted(address)) return address
    const hops = forwardedFor.split(',')
    const oldest = Math.max(0, hops.length - LIMITS.forwardedAddressesMax)
    for (let i = hops.length - 1; i >= oldest; i--) {
      const text = (hops[i] as string).trim()
      if (text === '') continue // an empty element of a list counts for nothing (RFC 9110, section 5.6.1.2)
      const hop = canonicalAddress(withoutPort(text))
      if (hop === undefined) return address // a hop that is no address: whoever sent it is the last one we can name
      address = hop
      if (!isTrusted(hop)) return hop
    }
    return address
  }
}

/** Some gateways write the port of the client as well: `192.0.2.1:4711`, `[2001:db8::1]:4711` (RFC 7239, section 6). */
function withoutPort(hop: string): string {
  const [, ipv6, ipv4] = /^(?:\[([^\]]*)\]|(\d[\d.]*))(?::\d{1,5})?$/.exec(hop) ?? []
  return ipv6 ?? ipv4 ?? hop
}

/**
 * The network an address is counted under: IPv4 by itself, IPv6 by its /64, as one subscriber commands all of that.
 * Expects the canonical spelling.
 */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address
  const [head = '', tail] = address.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length
  const groups = [...left, ...Array<string>(Math.max(0, zeros)).fill('0'), ...right]
  return `${groups.slice(0, 4).join(':')}::/64`
}

/** Of whoever asks now; `-` where there is no address. */
export function currentNetwork(): string {
  return networkOf(currentContext()?.ip ?? '-')
}
