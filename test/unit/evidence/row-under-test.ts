import type { StoredEvent } from '../../../src/event/event.ts'

export const rowOf = (id: number): StoredEvent => ({
  id,
  date_time: '2025-12-14T08:30:00.000Z',
  who: `CP-${id}`,
  ip: '192.0.2.1',
  action: 'AUTH_FAIL',
  description: 'wrong secret',
  severity: 'WARN',
  reason_code: 'INVALID_CREDENTIALS',
  request_id: null,
  endpoint: '/auth/login',
  http_method: 'POST',
  status_code: 401,
  metadata_json: null,
  created_at: '2025-12-14T08:30:00.123Z',
})
