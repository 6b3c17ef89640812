/** What people do about incidents: put on record in the trail, which is the only place that knows. Owns no state. */
import * as events from '../audit/events.ts'
import type { Change } from './outbox.ts'
import type { Security } from './security.ts'

const WORDS = { ACKNOWLEDGED: 'acknowledged', NOTED: 'noted', RESOLVED: 'resolved' } as const

export function createIncidents(change: Change): Security['incidents'] {
  return {
    handle: (incident, step, note, actor) =>
      change('admin', async transaction => {
        const description = `Incident ${incident} ${WORDS[step]}${note === undefined ? '' : `: ${note}`}`
        const metadata = { incident, note }
        await transaction.record(events.access(actor.name, undefined, step, { description, statusCode: 200, metadata }))
      }),
  }
}
