/** An event as it is answered: exactly the 14 columns. */
import { ACTIONS, SEVERITIES } from '../event/catalogue.ts'
import type { StoredEvent } from '../event/event.ts'
import { nullableInteger, nullableText } from './fields.ts'
import { object } from './schema.ts'

export const EVENT_EXAMPLE: StoredEvent = {
  id: 1041,
  date_time: '2025-12-14T08:30:00.000Z',
  who: 'CP-0042',
  ip: '203.0.113.7',
  action: 'AUTH_FAIL',
  description: 'Authentication failed: INVALID_CREDENTIALS',
  severity: 'WARN',
  reason_code: 'INVALID_CREDENTIALS',
  request_id: '019b1f6e-7a55-7cc0-8d0f-6f2f6f0c1a11',
  endpoint: '/auth/credentials',
  http_method: 'POST',
  status_code: 401,
  metadata_json: null,
  created_at: '2025-12-14T08:30:00.012Z',
}

const fields = {
  id: { type: 'integer', description: 'Counts from 1 without gaps.' },
  date_time: { type: 'string', description: 'When it happened: UTC, ISO-8601, milliseconds.' },
  who: { type: 'string' },
  ip: { type: 'string', description: 'Client address, `-` where there is none.' },
  action: { type: 'string', description: ACTIONS.join(', ') },
  description: { type: 'string' },
  severity: { type: 'string', description: SEVERITIES.join(', ') },
  reason_code: nullableText(),
  request_id: nullableText(),
  endpoint: nullableText(),
  http_method: nullableText(),
  status_code: nullableInteger(),
  metadata_json: nullableText({ description: 'JSON text, redacted.' }),
  created_at: {
    type: 'string',
    description:
      'When the row was written: as `date_time`; of an imported event as the reference wrote it, UTC, `YYYY-MM-DD HH:MM:SS`.',
  },
} as const

export const Event = object(fields, { title: 'Event', description: 'An event.', examples: [EVENT_EXAMPLE] })
export const EventItem = object(fields, { title: 'Event' })
