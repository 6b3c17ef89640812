/** Field schemas that several routes share. Every text has a length and a set of characters. */
import { LIMITS } from '../limits.ts'
import { CP_STATUSES } from '../security/security.ts'
import { closed } from './schema.ts'

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

export const cpId = { type: 'string', pattern: CP_ID, description: 'Identity of the charge point.' } as const

export const nullableText = (notes: { description?: string } = {}) => ({ type: ['string', 'null'], ...notes }) as const
export const nullableInteger = (notes: { description?: string } = {}) =>
  ({ type: ['integer', 'null'], ...notes }) as const

export const reason = {
  type: 'string',
  minLength: 1,
  maxLength: LIMITS.reasonCharactersMax,
  pattern: SAFE_TEXT,
  description: 'Why, for the audit trail.',
} as const

export const cpStatus = { type: 'string', enum: CP_STATUSES } as const

export const location = {
  type: 'string',
  minLength: 1,
  maxLength: LIMITS.locationCharactersMax,
  pattern: SAFE_TEXT,
} as const

export const cursorText = {
  type: 'string',
  minLength: 1,
  maxLength: 512,
  pattern: '^[A-Za-z0-9_-]+$',
  description: '`next_cursor` of the page before, with the same filters.',
} as const

export const nextCursor = nullableText({ description: 'Where the next page begins; null at the end.' })

/** Of the form that generated ones have. */
export const EXAMPLE_CREDENTIALS = '0123456789abcdef'.repeat(4)

export const cpParams = closed({
  cp_id: {
    ...cpId,
    description:
      'Identity of the charge point. Of `.`, `..` and `%2E` most clients make another address (RFC 3986, 5.2.4).',
  },
})
