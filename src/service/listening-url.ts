/** The address to show for what the settings listen on: one that works where it is read, on this machine. */
import { type AddressInfo, isIPv6 } from 'node:net'
import type { Settings } from '../settings/settings.ts'

/** Nobody can connect to "all addresses"; the loopback one of the same family is among them. */
const LOOPBACK: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' }

/** Whether every address of the machine is listened on. */
export function isEveryAddress(host: string): boolean {
  return Object.hasOwn(LOOPBACK, host)
}

export function listeningUrl(
  { host, port, tlsCertFile }: Pick<Settings, 'host' | 'port' | 'tlsCertFile'>,
  listening: AddressInfo | string | null,
): string {
  const scheme = tlsCertFile === undefined ? 'http' : 'https'
  const reachable = LOOPBACK[host] ?? host
  const name = isIPv6(reachable) ? `[${reachable}]` : reachable
  // Port 0 asks for any free one; which it is, only the socket knows.
  return `${scheme}://${name}:${typeof listening === 'object' && listening !== null ? listening.port : port}`
}
