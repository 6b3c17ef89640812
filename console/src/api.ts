/** Requests to the service: JSON in and out, refusals as `Problem`. What every page may meet is handled here once. */
import { inSentence, words } from './text.ts'

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
  requestId: '',
}
const ASKED_AGAIN = 'It may be restarting, or the network is gone. This page tries again by itself.'
/** It may have been done without an answer, so it is not for the page to do it twice. */
const NOT_REPEATED =
  'It may be restarting, or the network is gone. Nothing is repeated by itself: look whether it was done, then try again.'

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

/** @throws {Problem} */
export async function apiFile(path: string): Promise<{ name: string; blob: Blob }> {
  const response = await request('GET', path)
  const [, name = 'download'] = /filename="([^"]+)"/.exec(response.headers.get('content-disposition') ?? '') ?? []
  return { name, blob: await response.blob() }
}

async function request(method: string, path: string, body?: unknown): Promise<Response> {
  const headers: Record<string, string> = { 'x-evc-console': '1' }
  if (body !== undefined) headers['content-type'] = 'application/json'
  const init: RequestInit = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }
  const response = await fetch(path, init).catch(() => {
    throw new Problem({ ...UNREACHABLE, detail: method === 'GET' ? ASKED_AGAIN : NOT_REPEATED })
  })
  if (response.ok) return response
  const problem = await problemOf(response)
  if (response.status === 401 && path !== '/session') for (const listener of signedOut) listener()
  throw problem
}

type Said = Partial<Record<'code' | 'title' | 'detail', string>> & {
  readonly errors?: readonly { readonly field: string; readonly rule: string }[]
}

async function problemOf(response: Response): Promise<Problem> {
  const { status, headers } = response
  const said = (await response.json().catch(() => ({}))) as Said
  const wait = Number(headers.get('retry-after'))
  return new Problem({
    status,
    code: said.code ?? 'UNKNOWN',
    title: said.title ?? `The service answered ${status}`,
    detail: detailOf(said),
    requestId: headers.get('x-request-id') ?? '',
    ...(wait > 0 ? { wait } : {}),
  })
}

const RULES: Readonly<Record<string, string>> = {
  ip: 'no address',
  'date-time': 'no time',
  enum: 'unknown',
  pattern: 'not these characters',
  minLength: 'empty',
  maxLength: 'too long',
  not_before_start_time: 'before the other one',
}

/** Which field is wrong is said in `errors` only, by the names that the API has for fields and rules. */
function detailOf({ detail, errors = [] }: Said): string {
  if (errors.length === 0) return detail ?? 'Something between here and the service may have answered in its place.'
  const wrong = errors.map(({ field, rule }) => `${words(field)} (${RULES[rule] ?? inSentence(rule)})`)
  return `Not accepted: ${wrong.join(', ')}. Correct it, and try again.`
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
