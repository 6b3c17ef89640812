import assert from 'node:assert/strict'
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import test from 'node:test'
import type { FastifyReply } from 'fastify'
import { Refusal } from '../../../src/errors.ts'
import { createPlaces } from '../../../src/http/places.ts'

const answer = () => ({ raw: new ServerResponse(new IncomingMessage(new Socket())) }) as FastifyReply
const isRefused = (code: string) => (error: unknown) => error instanceof Refusal && error.code === code

test('places: one is held until the answer is over, however the work went, and then free for the next', () => {
  const places = createPlaces(2)
  const [first, second] = [answer(), answer()]
  places.take(first)
  places.take(second)
  assert.throws(() => places.take(answer()), isRefused('OVERLOADED'))
  first.raw.end()
  assert.throws(() => places.take(answer()), isRefused('OVERLOADED'), 'ended is not yet taken by the client')
  first.raw.emit('close')
  places.take(answer())
  assert.throws(() => places.take(answer()), isRefused('OVERLOADED'))
})

test('places: a client that is gone already takes none', () => {
  const places = createPlaces(1)
  const gone = answer()
  gone.raw.destroy()
  assert.throws(() => places.take(gone), isRefused('REQUEST_TIMEOUT'))
  places.take(answer())
})
