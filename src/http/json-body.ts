/**
 * Reads a JSON body, and refuses what JSON.parse would let pass: invalid UTF-8, nesting that could exhaust a stack,
 * names given twice (where two readers could see two different values), and names that reach for a prototype.
 *
 * The scan before JSON.parse is linear and counts the colons outside of strings; every member has one, so there are
 * duplicates exactly if the parsed value has fewer names than the text has colons.
 */
import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import { refuseStrayBody } from './validation.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d

export function registerJsonBody(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addHook('preValidation', (request, _reply, done) => {
    if (request.body === undefined && isBodyOptional(request)) request.body = {}
    if (readsNoBody(request)) refuseStrayBody(request.body)
    done()
  })
  app.addContentTypeParser<Buffer>(
    'application/json',
    { parseAs: 'buffer', bodyLimit: LIMITS.bodyBytesMax },
    (request, body, done) => {
      try {
        done(null, readBody(request, body))
      } catch (error) {
        done(error as Error)
      }
    },
  )
}

function readBody(request: FastifyRequest, body: Buffer): unknown {
  const { headers } = request
  const type = headers['content-type'] as string
  if (headers['content-encoding'] !== undefined || (type.length > 16 && !isUtf8Charset(type))) {
    throw new Refusal('UNSUPPORTED_MEDIA_TYPE')
  }
  // Clients that label every request as JSON, also one without a body.
  if (body.length === 0 && (readsNoBody(request) || isBodyOptional(request))) return undefined
  return parseJson(body)
}

const readsNoBody = ({ routeOptions }: FastifyRequest) => routeOptions.schema?.body === undefined

function isBodyOptional(request: FastifyRequest): boolean {
  return request.routeOptions.config.isBodyOptional === true
}

function isUtf8Charset(type: string): boolean {
  const charset = /;\s*charset\s*=\s*"?([^\s;"]*)/i.exec(type)
  return charset === null || charset[1]?.toLowerCase() === 'utf-8'
}

/** @throws {Refusal} VALIDATION_FAILED naming the rule that was broken. */
export function parseJson(body: Buffer): unknown {
  if (body.length === 0) throw broken('required', 'A JSON body is required.')
  if (!isUtf8(body)) throw broken('utf8', 'The body is not UTF-8.')
  const colons = scan(body)
  let value: unknown
  try {
    value = JSON.parse(body.toString('utf8'))
  } catch {
    throw broken('json', 'The body is not JSON.')
  }
  if (countNames(value) !== colons) throw broken('duplicate_field', 'A field is given twice.')
  return value
}

/** Colons outside of strings. Bounds the depth before anything recursive sees the text. */
function scan(body: Buffer): number {
  let colons = 0
  let depth = 0
  for (let i = 0; i < body.length; i++) {
    switch (body[i]) {
      case QUOTE:
        for (i++; i < body.length && body[i] !== QUOTE; i++) if (body[i] === BACKSLASH) i++
        break
      case COLON:
        colons++
        break
      case OPEN_BRACE:
      case OPEN_BRACKET:
        if (++depth > LIMITS.bodyDepthMax)
          throw broken('depth', `The body is nested deeper than ${LIMITS.bodyDepthMax}.`)
        break
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        depth--
        break
    }
  }
  return colons
}

function countNames(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let count = 0
  if (Array.isArray(value)) {
    for (const item of value) count += countNames(item)
    return count
  }
  for (const name of Object.keys(value)) {
    if (name === '__proto__' || name === 'constructor' || name === 'prototype') {
      throw broken('forbidden_field', 'The body names a prototype.')
    }
    count += 1 + countNames((value as Record<string, unknown>)[name])
  }
  return count
}

function broken(rule: string, detail: string): Refusal {
  return new Refusal('VALIDATION_FAILED', detail, { violations: [{ field: 'body', rule }] })
}
