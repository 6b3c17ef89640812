/** The simulated charge points and what each of them, or somebody in its name, can do. Every act says how it went. */
import { createCipheriv } from 'node:crypto'
import type { Answer, Api } from './api.ts'
import type { Random } from './random.ts'

export interface ChargePoint {
  readonly cpId: string
  readonly ip: string
  credentials: string
  token: string | undefined
  hasKey: boolean
  isInService: boolean
  /** When it was last refused, in ticks: seldom enough that honest mistakes do not look like an attack. */
  refusedAt: number
}

export interface Fleet {
  readonly chargePoints: readonly ChargePoint[]
  register(cp: ChargePoint): Promise<Answer>
  logIn(cp: ChargePoint): Promise<Answer>
  logInWrongly(cp: ChargePoint, from: string): Promise<Answer>
  checkToken(cp: ChargePoint): Promise<Answer>
  renewKey(cp: ChargePoint): Promise<Answer>
  /** Encrypted with its current key; tampered with, one bit of it is another. */
  sendMessage(cp: ChargePoint, isTampered: boolean): Promise<Answer>
  takeOut(cp: ChargePoint): Promise<Answer>
  restore(cp: ChargePoint): Promise<Answer>
}

const LOCATIONS = ['Depot north', 'Depot south', 'Harbour', 'City hall', 'Airport P2', 'Station east'] as const

export function createFleet(api: Api, random: Random, size: number): Fleet {
  const chargePoints = Array.from(
    { length: size },
    (_, i): ChargePoint => ({
      cpId: `SIM-${String(i + 1).padStart(4, '0')}`,
      ip: `10.20.${i >> 8}.${i & 255}`,
      credentials: '',
      token: undefined,
      hasKey: false,
      isInService: true,
      refusedAt: Number.NEGATIVE_INFINITY,
    }),
  )

  async function register(cp: ChargePoint): Promise<Answer> {
    const location = `${random.pick(LOCATIONS)}, bay ${random.below(40) + 1}`
    const answer = await api.operate('POST', '/charge-points', { cp_id: cp.cpId, location })
    cp.credentials = String(answer.body.credentials)
    return answer
  }

  async function logIn(cp: ChargePoint): Promise<Answer> {
    const { cpId, credentials } = cp
    const answer = await api.call(cp.ip, 'POST', '/auth/credentials', { cp_id: cpId, credentials })
    if (answer.status === 200) cp.token = String(answer.body.token)
    return answer
  }

  async function renewKey(cp: ChargePoint): Promise<Answer> {
    const path = cp.hasKey ? '/keys/reset' : '/keys/generate'
    const answer = await api.operate('POST', path, { cp_id: cp.cpId, reason: 'scheduled rotation' })
    if (answer.status === 200) cp.hasKey = true
    return answer
  }

  async function sendMessage(cp: ChargePoint, isTampered: boolean): Promise<Answer> {
    if (!cp.hasKey) await renewKey(cp)
    if (cp.token === undefined) await logIn(cp)
    const current = await api.call(cp.ip, 'GET', '/keys/current', undefined, cp.token)
    if (current.status !== 200) return current
    const message = encrypt(Buffer.from(String(current.body.key), 'base64'), cp.cpId, random)
    if (isTampered) message[20] = (message[20] as number) ^ 1
    return api.call(cp.ip, 'POST', '/messages', { payload: message.toString('base64') }, cp.token)
  }

  async function changeStatus(cp: ChargePoint, path: string, isInService: boolean): Promise<Answer> {
    const answer = await api.operate('POST', path, { cp_id: cp.cpId, reason: 'maintenance' })
    if (answer.status === 200) cp.isInService = isInService
    return answer
  }

  return {
    chargePoints,
    register,
    logIn,
    logInWrongly: (cp, from) =>
      api.call(from, 'POST', '/auth/credentials', { cp_id: cp.cpId, credentials: random.bytes(16).toString('hex') }),
    checkToken: cp => api.call(cp.ip, 'POST', '/auth/token', { cp_id: cp.cpId, token: cp.token ?? 'none' }),
    renewKey,
    sendMessage,
    takeOut: cp => changeStatus(cp, '/status/out-of-service', false),
    restore: cp => changeStatus(cp, '/status/restore', true),
  }
}

/** nonce(12) || ciphertext || tag(16), AES-256-GCM with the cp_id as associated data, as /messages wants it. */
function encrypt(key: Buffer, cpId: string, random: Random): Buffer {
  const nonce = random.bytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(cpId))
  const body = cipher.update(JSON.stringify({ meter_wh: random.below(1_000_000) }))
  return Buffer.concat([nonce, body, cipher.final(), cipher.getAuthTag()])
}
