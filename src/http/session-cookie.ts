/**
 * The cookie of a session: read from a request, set and taken back in an answer.
 *
 * It counts only in requests of our own pages. SameSite=Strict keeps it from those of others already; beyond that a browser
 * says where a request comes from (Sec-Fetch-Site), and a change needs a header that a foreign page cannot send without
 * asking first, which is never allowed here. Without all of that the request has no session, and is refused as such.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'

/** `__Host-`: Secure, of this host alone, for all of its paths. Browsers refuse that name without TLS. */
const NAMES = { secure: '__Host-evc-session', plain: 'evc-session' } as const
const SECRET = /^[A-Za-z0-9_-]{43}$/
/** What the console sends along. */
const OWN_HEADER = 'x-evc-console'
const READS: ReadonlySet<string> = new Set(['GET', 'HEAD'])

/** The secret that a request may use. */
export function sessionSecretOf({ headers, method }: FastifyRequest): string | undefined {
  const secret = cookieOf(headers.cookie)
  if (secret === undefined) return undefined
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return undefined
  return READS.has(method) || headers[OWN_HEADER] === '1' ? secret : undefined
}

function cookieOf(header: string | undefined): string | undefined {
  const pairs = (header ?? '').split(';').map(pair => pair.trim().split('=', 2))
  const found = (name: string) => pairs.find(([key]) => key === name)?.[1]
  const value = found(NAMES.secure) ?? found(NAMES.plain)
  return value !== undefined && SECRET.test(value) ? value : undefined
}

/** Undefined takes it back. A proxy in front that does TLS says so; whoever only pretends gets a cookie that does not work. */
export function setSessionCookie(
  request: FastifyRequest,
  reply: FastifyReply,
  isTls: boolean,
  session: { readonly secret: string; readonly expires_at: string } | undefined,
): void {
  const isSecure = isTls || request.headers['x-forwarded-proto'] === 'https'
  const seconds =
    session === undefined ? 0 : Math.max(0, Math.round((Date.parse(session.expires_at) - Date.now()) / 1000))
  const name = isSecure ? NAMES.secure : NAMES.plain
  const rest = `Path=/; HttpOnly; SameSite=Strict; Max-Age=${seconds}${isSecure ? '; Secure' : ''}`
  reply.header('set-cookie', `${name}=${session?.secret ?? ''}; ${rest}`)
}
