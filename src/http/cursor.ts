/**
 * Cursors: where a walk goes on, as one opaque word. A cursor is bound to the filter of the walk it belongs to; with
 * another filter it is refused, for the pages would not fit together. It has one spelling and holds no secret.
 */
import { createHash } from 'node:crypto'
import { invalid } from './validation.ts'

const CHECKSUM_BYTES = 6

export function formatCursor(position: string, binding: string): string {
  return Buffer.concat([checksum(position, binding), Buffer.from(position)]).toString('base64url')
}

/** @throws {Refusal} VALIDATION_FAILED */
export function parseCursor(cursor: string, binding: string): string {
  const bytes = Buffer.from(cursor, 'base64url')
  const position = bytes.subarray(CHECKSUM_BYTES).toString()
  if (formatCursor(position, binding) !== cursor) throw invalid([{ field: 'cursor', rule: 'cursor' }])
  return position
}

function checksum(position: string, binding: string): Buffer {
  return createHash('sha256').update(`${binding}\n${position}`).digest().subarray(0, CHECKSUM_BYTES)
}
