/**
 * The simulation's way to the server: real HTTP. Every simulated machine has an address of its own, which the server
 * believes because it is told to trust a proxy on loopback (X-Forwarded-For).
 */

export interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

export interface Api {
  /** As a machine at that address; `token` is a charge point's. */
  call(from: string, method: 'GET' | 'POST', path: string, body?: object, token?: string): Promise<Answer>
  /** As the operator. */
  operate(method: 'GET' | 'POST', path: string, body?: object): Promise<Answer>
  /** As somebody who guesses an admin key. */
  intrude(from: string, path: string): Promise<Answer>
}

const OPERATOR_ADDRESS = '198.51.100.10'

export function createApi(url: string, adminKey: string): Api {
  async function send(method: string, path: string, headers: Record<string, string>, body?: object): Promise<Answer> {
    const response = await fetch(url + path, {
      method,
      headers: body === undefined ? headers : { ...headers, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? {} : JSON.parse(text) }
  }

  return {
    call: (from, method, path, body, token) =>
      send(
        method,
        path,
        { 'x-forwarded-for': from, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
        body,
      ),
    operate: (method, path, body) =>
      send(method, path, { 'x-forwarded-for': OPERATOR_ADDRESS, 'x-admin-key': adminKey }, body),
    intrude: (from, path) => send('GET', path, { 'x-forwarded-for': from, 'x-admin-key': 'evca_guessed' }),
  }
}
