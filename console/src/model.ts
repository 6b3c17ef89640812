/** What the service answers: its own types, of which nothing is left when the page is built, and a limit of it. */
import type { Handling, IncidentState } from '../../src/http/incident-book.ts'
import type { Episode as Found } from '../../src/query/event-queries.ts'

export type { Severity } from '../../src/event/catalogue.ts'
export type { StoredEvent } from '../../src/event/event.ts'
export type { EvidenceStatus, VerificationStatus } from '../../src/http/deps.ts'
export type { IncidentState } from '../../src/http/incident-book.ts'
export type { Overview } from '../../src/http/overview.ts'
export type { CpStatus, SecurityStatus, Session } from '../../src/security/security.ts'

export type Episode = Found & { readonly state: IncidentState; readonly handling: readonly Handling[] }

/** As many as the service looks at: the newest. */
export const INCIDENTS_LISTED = 200
