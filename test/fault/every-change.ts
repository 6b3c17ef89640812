/** Every change of state that operators can ask for, to see that each is refused alike. */
import { ADMIN_KEY, send } from '../harness/service-process.ts'

export type ChangeRequest = readonly [method: string, path: string, body?: object]

/** One change of each kind, all of which would be allowed on a charge point that is active and has a key (see `seed`). */
export const CHANGES: readonly ChangeRequest[] = [
  ['POST', '/charge-points', { cp_id: 'NEW' }],
  ['POST', '/charge-points/CP-1/credentials', {}],
  ['DELETE', '/charge-points/CP-1'],
  ['POST', '/keys/generate', { cp_id: 'CP-2' }],
  ['POST', '/keys/reset', { cp_id: 'CP-1' }],
  ['POST', '/keys/revoke', { cp_id: 'CP-1' }],
  ['POST', '/status/out-of-service', { cp_id: 'CP-1', reason: 'test' }],
  ['POST', '/status/revoke', { cp_id: 'CP-1', reason: 'test' }],
]

/** CP-1 with a key, CP-2 without one; returns what CP-1 logs in with. */
export async function seed(url: string) {
  const { body } = await send(url, 'POST', '/charge-points', { cp_id: 'CP-1' })
  await send(url, 'POST', '/charge-points', { cp_id: 'CP-2' })
  await send(url, 'POST', '/keys/generate', { cp_id: 'CP-1' })
  return { cp_id: 'CP-1', credentials: String(body.credentials) }
}

/** How the change is answered: status, code, whether there is a Retry-After. */
export async function answerOf(url: string, change: ChangeRequest): Promise<unknown[]> {
  const [method, path, body] = change
  const response = await fetch(url + path, {
    method,
    headers: { 'x-admin-key': ADMIN_KEY, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const { code } = (await response.json()) as { code?: string }
  return [response.status, code, Number(response.headers.get('retry-after')) > 0]
}
