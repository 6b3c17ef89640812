/** What an analyst sees first: is something wrong, and where. Every figure leads to the events behind it. */
import { lazy, Suspense, useState } from 'react'
import { Link } from 'wouter'
import { useNow } from '../clock.ts'
import { useLive } from '../live.tsx'
import { INCIDENTS_LISTED, type Overview } from '../model.ts'
import { count, duration, number, words } from '../text.ts'
import { Ago, Empty, Figure, Foreign, Loading, Status } from '../ui/parts.tsx'
import { eventsAt } from '../url.ts'

const EventsChart = lazy(() => import('./chart.tsx'))

export function OverviewPage() {
  const { overview, state } = useLive()
  if (overview === undefined) return <NothingYet />
  return (
    <div className={`page overview ${state === 'lost' ? 'stale' : ''}`}>
      <div className="title">
        <h1>Overview</h1>
        <span className="hint">
          Last 24 hours, as of <Ago at={overview.at} />
        </span>
      </div>
      <Verdict overview={overview} isStale={state === 'lost'} />
      <Figures overview={overview} />
      <section className="card chart">
        <h2>Events per minute, UTC</h2>
        {overview.events.total === 0 ? (
          <Empty title="No events yet">Register a charge point, and let it log in.</Empty>
        ) : (
          <Suspense fallback={<Loading what="the chart" />}>
            <EventsChart events={overview.events} />
          </Suspense>
        )}
      </section>
      <div className="columns">
        <OpenIncidents overview={overview} />
        <Tops overview={overview} />
      </div>
      <Checks overview={overview} />
    </div>
  )
}

const LONG_MS = 5_000

/** Figures may never come: a trail that cannot be read is what one would want to know first. */
function NothingYet() {
  const [since] = useState(Date.now)
  const isLong = useNow() - since > LONG_MS
  return (
    <div className="page">
      <h1>Overview</h1>
      <Loading what="the last 24 hours" />
      {isLong && (
        <p className="notice">
          This takes long. If the trail cannot be read, <a href="/ready">the checks of the service</a> say why.
        </p>
      )}
    </div>
  )
}

/** One sentence: all is well, or what is not. */
function Verdict({ overview, isStale }: { overview: Overview; isStale: boolean }) {
  const failing = overview.checks.filter(({ ok }) => !ok)
  const { open, acknowledged, resolved } = overview.incidents.by_state
  const isCut = open + acknowledged + resolved >= INCIDENTS_LISTED
  const noneOpen = isCut ? `None of the newest ${INCIDENTS_LISTED} incidents is open.` : 'No open incidents.'
  const isWell = failing.length === 0 && open === 0
  const kind = failing.length > 0 ? 'bad' : open > 0 || isStale ? 'warn' : 'good'
  return (
    <p className={`verdict ${kind}`} role="status">
      {isStale && 'When it last answered: '}
      {failing.length > 0 && (
        <>
          <strong>The service needs attention:</strong>{' '}
          {failing.map(({ name }) => words(name).toLowerCase()).join(', ')}.{' '}
        </>
      )}
      {open > 0 && (
        <Link href="/incidents?state=open">
          <strong>{count(open, 'open incident')}</strong>
        </Link>
      )}
      {open > 0 && (failing.length > 0 ? '.' : '. The service itself is in order.')}
      {isWell && <strong>Everything is in order. {noneOpen}</strong>}
      {isCut && open > 0 && ` Of the newest ${INCIDENTS_LISTED} incidents.`}
    </p>
  )
}

function Figures({ overview }: { overview: Overview }) {
  const { events, failed_logins, incidents, charge_points } = overview
  const failed = Object.values(failed_logins).reduce((sum, n) => sum + n, 0)
  const range = { start_time: events.start_time }
  return (
    <div className="figures">
      <Figure
        label="open incidents"
        value={number(incidents.by_state.open)}
        to="/incidents?state=open"
        tone={incidents.by_state.open > 0 ? 'critical' : ''}
      />
      <Figure
        label="critical events"
        value={number(events.by_severity.CRITICAL ?? 0)}
        to={eventsAt({ severity: 'CRITICAL', ...range })}
        tone={(events.by_severity.CRITICAL ?? 0) > 0 ? 'critical' : ''}
      />
      <Figure label="failed logins" value={number(failed)} to={eventsAt({ action: 'AUTH_FAIL', ...range })} />
      <Figure label="events" value={number(events.total)} to={eventsAt(range)} />
      <Figure label="active" value={number(charge_points.ACTIVE)} to="/charge-points?status=ACTIVE" />
      <Figure
        label="out of service"
        value={number(charge_points.OUT_OF_SERVICE)}
        to="/charge-points?status=OUT_OF_SERVICE"
      />
      <Figure label="revoked" value={number(charge_points.REVOKED)} to="/charge-points?status=REVOKED" />
    </div>
  )
}

function OpenIncidents({ overview }: { overview: Overview }) {
  const { newest, by_state } = overview.incidents
  return (
    <section className="card">
      <h2>Incidents to look at</h2>
      {newest.length === 0 ? (
        <Empty title="None is open">{count(by_state.resolved, 'incident')} resolved.</Empty>
      ) : (
        <ul className="lines">
          {newest.map(({ episode_id, reason_code, who, ip, scope, last_seen, state, failure_count }) => (
            <li key={episode_id}>
              <Link href={`/incidents?incident=${episode_id}`} className="incident">
                <span className="what">
                  <b>{words(reason_code)}</b>
                  {state === 'acknowledged' && <Status status="acknowledged" kind="warn" />}
                </span>
                <span className="where">
                  <Foreign text={scope === 'cp_id' ? who : ip} />
                  {failure_count !== null && <span>{count(failure_count, 'failure')}</span>}
                  <Ago at={last_seen} />
                </span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}

function Tops({ overview }: { overview: Overview }) {
  const { start_time } = overview.events
  const failed = { action: 'AUTH_FAIL', start_time }
  const reasons = Object.entries(overview.failed_logins).sort(([, a], [, b]) => b - a)
  return (
    <>
      <Bars
        title="Failed logins by reason"
        none="No login failed"
        lines={reasons.map(([reason, n]) => ({
          name: words(reason),
          n,
          to: eventsAt({ ...failed, reason_code: reason }),
        }))}
      />
      <Bars
        title="Attacked charge points"
        none="No login failed"
        lines={overview.attacked_charge_points.map(({ cp_id, failures }) => ({
          name: <Foreign text={cp_id} />,
          n: failures,
          to: eventsAt({ ...failed, who: cp_id }),
        }))}
      />
      <Bars
        title="Attacking addresses"
        none="No login failed"
        lines={overview.attacking_addresses.map(({ ip, failures }) => ({
          name: <Foreign text={ip} />,
          n: failures,
          to: eventsAt({ ...failed, ip }),
        }))}
      />
    </>
  )
}

const SHOWN = 6

function Bars({
  title,
  none,
  lines,
}: {
  title: string
  none: string
  lines: { name: React.ReactNode; n: number; to: string }[]
}) {
  const most = Math.max(1, ...lines.map(({ n }) => n))
  return (
    <section className="card">
      <h2>{title}</h2>
      {lines.length === 0 ? (
        <Empty title={none}>In the last 24 hours.</Empty>
      ) : (
        <ul className="bars">
          {lines.slice(0, SHOWN).map(({ name, n, to }) => (
            <li key={to}>
              <Link href={to}>
                <span className="grow">{name}</span>
                <span className="number">{number(n)}</span>
                <i aria-hidden="true" style={{ inlineSize: `${(n / most) * 100}%` }} />
              </Link>
            </li>
          ))}
        </ul>
      )}
    </section>
  )
}

/** Where one sees more of it. */
const LEADS: Readonly<Record<string, string>> = {
  losses: eventsAt({ action: 'SYSTEM', reason_code: 'LOSS_DECLARED' }),
  checkpoint: '/evidence',
  witnesses: '/evidence',
}

const NAMES: Readonly<Record<string, string>> = {
  journal: 'Journal',
  store: 'Event store',
  index_lag: 'Indexer',
  disk: 'Disk',
  losses: 'Losses',
  security_state: 'Security state',
  checkpoint: 'Checkpoints',
  witnesses: 'Witnesses',
}

function Checks({ overview }: { overview: Overview }) {
  const { evidence } = overview
  return (
    <section className="card checks">
      <h2>Service</h2>
      <dl>
        {overview.checks.map(({ name, ok, detail }) => (
          <div key={name}>
            <dt>
              <span className={`status ${ok ? 'good' : 'bad'}`}>
                <i aria-hidden="true" />
                {NAMES[name] ?? words(name)}
                <span className="visually-hidden">{ok ? 'in order' : 'not in order'}</span>
              </span>
            </dt>
            <dd>{LEADS[name] === undefined ? detail : <Link href={LEADS[name]}>{detail}</Link>}</dd>
          </div>
        ))}
        <div>
          <dt>Checkpoint age</dt>
          <dd>
            <Link href="/evidence">
              {evidence.signed_at === null ? 'signed before this start' : <Ago at={evidence.signed_at} />}
            </Link>
            {evidence.unsigned_seconds > 2 && `, news waits ${duration(evidence.unsigned_seconds)}`}
          </dd>
        </div>
        <div>
          <dt>Newest event</dt>
          <dd>
            <Link href={eventsAt({})}>{number(overview.last_event_id)}</Link>
          </dd>
        </div>
      </dl>
    </section>
  )
}
