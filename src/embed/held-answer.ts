/**
 * Holds the end of an answer until what was recorded for it is durable, for frameworks that have no hook for that.
 *
 * From `end()` on, the answer is decided: status and headers are fixed at once, as they would be without us, so that a
 * handler that fails after answering cannot rewrite an answer that is only waiting.
 */
import type { ServerResponse } from 'node:http'

/** `ready` is called once, with the answer's status in place, and must not reject. */
export function holdAnswer(response: ServerResponse, ready: () => Promise<unknown>): void {
  const end = response.end
  let isHeld = false
  const heldEnd = (...last: unknown[]): ServerResponse => {
    if (isHeld) return response
    isHeld = true
    fixHead(response, last)
    ready().then(() => {
      response.end = end
      Reflect.apply(end, response, last)
    })
    return response
  }
  response.end = heldEnd as typeof response.end
}

/** Writes the head as `end()` would: with the length of the one chunk, where there is just one. */
function fixHead(response: ServerResponse, [chunk, encoding]: unknown[]): void {
  if (response.headersSent) return
  const hasLength = response.hasHeader('content-length') || response.hasHeader('transfer-encoding')
  const mayHaveBody = response.statusCode !== 204 && response.statusCode !== 304
  if (!hasLength && mayHaveBody) response.setHeader('content-length', lengthOf(chunk, encoding))
  response.writeHead(response.statusCode)
}

function lengthOf(chunk: unknown, encoding: unknown): number {
  if (typeof chunk === 'string') {
    return Buffer.byteLength(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
  }
  return chunk instanceof Uint8Array ? chunk.byteLength : 0
}
