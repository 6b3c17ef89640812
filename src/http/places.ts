/**
 * Places for answers that hold more than their own bytes until the client has taken them: a bounded number of them. One is
 * taken before the work begins and given back when the answer is over, whichever way: whoever reads slowly holds it as long.
 */
import type { FastifyReply } from 'fastify'
import { Refusal } from '../errors.ts'

const RETRY_AFTER_SECONDS = 5

export interface Places {
  /** @throws {Refusal} OVERLOADED; REQUEST_TIMEOUT: there is nobody left to answer */
  take(reply: FastifyReply): void
}

export function createPlaces(max: number): Places {
  let taken = 0
  return {
    take({ raw }) {
      if (raw.destroyed) throw new Refusal('REQUEST_TIMEOUT', 'The client went away.')
      if (taken >= max) throw new Refusal('OVERLOADED', undefined, { retryAfterSeconds: RETRY_AFTER_SECONDS })
      taken++
      raw.once('close', () => taken--)
    },
  }
}
