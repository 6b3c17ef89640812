/** Requests to the service: JSON in and out, refusals as `Problem`. What every page may meet is handled here once. */

export class Problem extends Error {
  override readonly name = 'Problem'
  readonly status: number
  readonly code: string
  readonly title: string
  readonly requestId: string
  readonly retryAfterSeconds: number | undefined

  constructor(fields: {
    status: number
    code: string
    title: string
    detail: string
    requestId: string
    wait?: number
  }) {
    super(fields.detail)
    this.status = fields.status
    this.code = fields.code
    this.title = fields.title
    this.requestId = fields.requestId
    this.retryAfterSeconds = fields.wait
  }
}

const UNREACHABLE = {
  status: 0,
  code: 'UNREACHABLE',
  title: 'The service does not answer',
  detail: 'It may be restarting, or the network is gone. This page tries again by itself.',
  requestId: '',
}

type Listener = () => void
const signedOut = new Set<Listener>()

/** Calls back when an answer says that there is no session any more. */
export function onSignedOut(listener: Listener): () => void {
  signedOut.add(listener)
  return () => signedOut.delete(listener)
}

/** @throws {Problem} */
export async function api<T>(method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<T> {
  const response = await request(method, path, body)
  return response.status === 204 ? (undefined as T) : ((await response.json()) as T)
}

/** @throws {Problem} */
export async function apiText(path: string): Promise<string> {
  return (await request('GET', path)).text()
}

async function request(method: string, path: string, body?: unknown): Promise<Response> {
  const headers: Record<string, string> = { 'x-evc-console': '1' }
  if (body !== undefined) headers['content-type'] = 'application/json'
  const init: RequestInit = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }
  const response = await fetch(path, init).catch(() => {
    throw new Problem(UNREACHABLE)
  })
  if (response.ok) return response
  const problem = await problemOf(response)
  if (response.status === 401 && path !== '/session') for (const listener of signedOut) listener()
  throw problem
}

async function problemOf(response: Response): Promise<Problem> {
  const { status, headers } = response
  const said = (await response.json().catch(() => ({}))) as Partial<Record<'code' | 'title' | 'detail', string>>
  const wait = Number(headers.get('retry-after'))
  return new Problem({
    status,
    code: said.code ?? 'UNKNOWN',
    title: said.title ?? `The service answered ${status}`,
    detail: said.detail ?? 'Something between here and the service may have answered in its place.',
    requestId: headers.get('x-request-id') ?? '',
    ...(wait > 0 ? { wait } : {}),
  })
}

/** A query string of what is there. */
export function query(fields: Readonly<Record<string, string | number | undefined>>): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined && value !== '') parameters.set(name, String(value))
  }
  const text = parameters.toString()
  return text === '' ? '' : `?${text}`
}
