/** One event, whole: its columns, what belongs to it, and the proof that it is in the log, checked in this browser. */
import { useQuery } from '@tanstack/react-query'
import { type ReactNode, useState } from 'react'
import { Link } from 'wouter'
import { CHARGE_POINT_ACTIONS, INCIDENT } from '../../../src/event/catalogue.ts'
import { api } from '../api.ts'
import type { StoredEvent } from '../model.ts'
import { number, printableLines, utc, words } from '../text.ts'
import { Detail } from '../ui/detail.tsx'
import { Button, CopyButton, Failure, Foreign, Loading, Outcome, SeverityMark, scrolling, Time } from '../ui/parts.tsx'
import { eventsAt } from '../url.ts'
import type { ProofOutcome } from './proof.ts'

export function EventDetail({ id, onClose }: { id: number; onClose: () => void }) {
  const { data, error, refetch } = useQuery({
    queryKey: ['event', id],
    queryFn: () => api<StoredEvent>('GET', `/audit/events/${id}`),
    staleTime: Number.POSITIVE_INFINITY,
  })
  return (
    <Detail label={`Event ${id}`} title={`Event ${number(id)}`} onClose={onClose}>
      {error !== null && <Failure error={error} retry={refetch} />}
      {data === undefined ? error === null && <Loading what="the event" /> : <Columns event={data} />}
    </Detail>
  )
}

function Columns({ event }: { event: StoredEvent }) {
  const nameless = event.who === '' || event.who === 'unknown' || event.who === 'system'
  const isOfChargePoint =
    CHARGE_POINT_ACTIONS.has(event.action) ||
    (event.action === 'INCIDENT' && event.reason_code !== INCIDENT.UNAUTHORIZED_ADMIN_ACCESS)
  const isChargePoint = isOfChargePoint && !nameless
  return (
    <>
      <p className="lead">
        <SeverityMark severity={event.severity} /> <strong>{words(event.action)}</strong>
      </p>
      <p className="description" {...scrolling(event.description)}>
        <Foreign text={event.description} />
      </p>
      <nav className="related" aria-label="Related events">
        {event.request_id !== null && <Link href={eventsAt({ request_id: event.request_id })}>Same request</Link>}
        {!nameless && <Link href={eventsAt({ who: event.who })}>Same {isChargePoint ? 'charge point' : 'name'}</Link>}
        {event.ip !== '-' && event.ip !== '' && <Link href={eventsAt({ ip: event.ip })}>Same address</Link>}
        {event.reason_code !== null && <Link href={eventsAt({ reason_code: event.reason_code })}>Same reason</Link>}
        {isChargePoint && (
          <Link href={`/charge-points?cp=${encodeURIComponent(event.who)}`}>Open the charge point</Link>
        )}
        {event.action === 'INCIDENT' && <Link href={`/incidents?incident=${event.id}`}>Open the incident</Link>}
      </nav>
      <Proof event={event} />
      <dl className="columns-of-event">
        <Column name="id">{event.id}</Column>
        <Column name="date_time">
          <Time at={event.date_time} />
        </Column>
        <ForeignColumn name="who" text={event.who} />
        <ForeignColumn name="ip" text={event.ip} />
        <Column name="action">{event.action}</Column>
        <Column name="severity">{event.severity}</Column>
        <ForeignColumn name="reason_code" text={event.reason_code} />
        <ForeignColumn name="request_id" text={event.request_id} />
        <ForeignColumn name="endpoint" text={event.endpoint} />
        <ForeignColumn name="http_method" text={event.http_method} />
        <Column name="status_code">{event.status_code}</Column>
        <Column name="created_at">
          <span title="When the row was written">{utc(event.created_at)}</span>
        </Column>
      </dl>
      <h3>Metadata</h3>
      {event.metadata_json === null ? (
        <p className="hint">None.</p>
      ) : (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keyboard
        <pre tabIndex={0}>{printableLines(indented(event.metadata_json))}</pre>
      )}
      <footer>
        <CopyButton text={JSON.stringify(event, null, 2)} label="Copy as JSON" />
      </footer>
    </>
  )
}

function ForeignColumn({ name, text }: { name: string; text: string | null }) {
  return (
    <Column name={name} text={text}>
      {text !== null && <Foreign text={text} />}
    </Column>
  )
}

function Column({ name, text = null, children }: { name: string; text?: string | null; children: ReactNode }) {
  const isEmpty = children === null || children === false || children === undefined
  return (
    <div>
      <dt>{name}</dt>
      <dd {...scrolling(text)}>{isEmpty ? <span className="muted">none</span> : children}</dd>
    </div>
  )
}

function indented(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2)
  } catch {
    return json
  }
}

function Proof({ event }: { event: StoredEvent }) {
  const [outcome, setOutcome] = useState<ProofOutcome | Error>()
  const [isBusy, setBusy] = useState(false)
  async function check(): Promise<void> {
    setBusy(true)
    try {
      // The verifier is asked for when it is needed: it is a third of the page.
      const { checkProof } = await import('./proof.ts')
      setOutcome(await checkProof(event))
    } catch (error) {
      setOutcome(error as Error)
    }
    setBusy(false)
  }
  return (
    <section className="proof">
      <h3>Proof</h3>
      {outcome === undefined && (
        <p className="hint">
          That this event is in the signed log, as it is shown here. The check is made in this browser and believes
          nothing but the key of the log.
        </p>
      )}
      <div role="status">
        {outcome instanceof Error ? <Failure error={outcome} /> : outcome !== undefined && <Outcome of={outcome} />}
      </div>
      <div className="tools">
        <Button icon="evidence" onClick={check} isBusy={isBusy}>
          {outcome === undefined ? 'Verify in this browser' : 'Verify again'}
        </Button>
        <a className="button plain" href={`/audit/events/${event.id}/proof`} download={`event-${event.id}.tlog-proof`}>
          Download the proof
        </a>
      </div>
    </section>
  )
}
