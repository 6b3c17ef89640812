/** Field schemas that several routes share. Every text has a length and a set of characters. */
import { Type } from 'typebox'
import { LIMITS } from '../limits.ts'
import { CP_STATUSES, type CpStatus } from '../security/security.ts'

/**
 * Free text without C0, DEL and C1 controls, line and paragraph separators, bidirectional controls, BOM, and surrogates
 * that stand alone. To be compiled with the `u` flag, as JSON Schema wants.
 */
export const SAFE_TEXT =
  '^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ufeff\\ud800-\\udfff]*$'

export const CP_ID = '^[A-Za-z0-9*\\-_=:+|@.]{1,48}$'
const CP_ID_REGEXP = new RegExp(CP_ID)

export function isCpId(value: unknown): value is string {
  return typeof value === 'string' && CP_ID_REGEXP.test(value)
}

export const cpId = Type.String({ pattern: CP_ID, description: 'Identity of the charge point.' })

export const nullableText = (options: { description?: string } = {}) =>
  Type.Unsafe<string | null>({ type: ['string', 'null'], ...options })
export const nullableInteger = (options: { description?: string } = {}) =>
  Type.Unsafe<number | null>({ type: ['integer', 'null'], ...options })

export const reason = Type.String({
  minLength: 1,
  maxLength: LIMITS.reasonCharactersMax,
  pattern: SAFE_TEXT,
  description: 'Why, for the audit trail.',
})

export const cpStatus = Type.Unsafe<CpStatus>({ type: 'string', enum: [...CP_STATUSES] })

export const location = Type.String({ minLength: 1, maxLength: LIMITS.locationCharactersMax, pattern: SAFE_TEXT })

export const closed = { additionalProperties: false } as const

export const cursorText = Type.String({
  minLength: 1,
  maxLength: 512,
  pattern: '^[A-Za-z0-9_-]+$',
  description: '`next_cursor` of the page before, with the same filters.',
})

export const nextCursor = nullableText({ description: 'Where the next page begins; null at the end.' })

/** Of the form that generated ones have. */
export const EXAMPLE_CREDENTIALS = '0123456789abcdef'.repeat(4)

export const cpParams = Type.Object({ cp_id: cpId }, closed)
