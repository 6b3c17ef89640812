/** Incidents as episodes: what happened, how far it went, who does something about it. */
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { createContext, Fragment, useCallback, useContext, useMemo, useState } from 'react'
import { Link } from 'wouter'
import { api, query } from './api.ts'
import { useKeys } from './keys.ts'
import { useLive } from './live.tsx'
import type { Episode, IncidentState, StoredEvent } from './model.ts'
import { useSession } from './session.tsx'
import { count, duration, inSentence, number, words } from './text.ts'
import { ActionDialog, Field } from './ui/dialog.tsx'
import { Ago, Button, Empty, Failure, Foreign, IconButton, Loading, SeverityMark, Status, Time } from './ui/parts.tsx'
import { columnsOf, Table } from './ui/table.tsx'
import { eventsAt, useParams } from './url.ts'

const LIMIT = 200
const STATES: readonly (IncidentState | '')[] = ['', 'open', 'acknowledged', 'resolved']
const KINDS = { open: 'bad', acknowledged: 'warn', resolved: 'good' } as const
/** What came shortly before an incident belongs to its story. */
const BEFORE_MS = 10 * 60_000
const AFTER_MS = 5 * 60_000
const TIMELINE = 300
const NONE: Episode[] = []

export function IncidentsPage() {
  const [params, change] = useParams()
  const { overview } = useLive()
  // Read again when there is another number of incidents: each read of the trail is on record, so not by the clock.
  const marker = JSON.stringify(overview?.incidents ?? null)
  const { data, error, refetch } = useQuery({
    queryKey: ['incidents', marker],
    queryFn: () => api<{ episodes: Episode[] }>('GET', `/audit/incidents${query({ limit: LIMIT })}`),
    placeholderData: before => before,
  })
  const asked = STATES.find(state => state === params.state) ?? ''
  const episodes = data?.episodes ?? NONE
  const shown = useMemo(() => episodes.filter(({ state }) => asked === '' || state === asked), [episodes, asked])
  const open = useCallback((id: number) => change({ incident: String(id) }), [change])
  const opened = episodes.find(({ event_ids }) => event_ids.includes(Number(params.incident)))
  useKeys(opened === undefined ? {} : { Escape: () => change({ incident: '' }) })
  return (
    <div className="page incidents">
      <div className="title">
        <h1>Incidents</h1>
        <fieldset className="segments" aria-label="State">
          {STATES.map(state => (
            <label key={state} className={state === asked ? 'on' : ''}>
              <input type="radio" name="state" checked={state === asked} onChange={() => change({ state })} />
              {state === '' ? 'All' : words(state)}
              <b>{number(episodes.filter(episode => state === '' || episode.state === state).length)}</b>
            </label>
          ))}
        </fieldset>
      </div>
      <div className={`split ${opened === undefined ? '' : 'open'}`}>
        <div className="list">
          {error !== null && <Failure error={error} retry={refetch} />}
          {data === undefined && error === null && <Loading what="incidents" />}
          {data !== undefined && shown.length === 0 && (
            <Empty title={asked === '' ? 'No incidents' : `No ${asked} incidents`}>
              Brute force, refused admin access and messages that were tampered with appear here.
            </Empty>
          )}
          {shown.length > 0 && (
            <OpenIncident value={open}>
              <Table
                label="Incidents"
                columns={COLUMNS}
                rows={shown}
                rowId={({ episode_id }) => String(episode_id)}
                selected={opened === undefined ? undefined : String(opened.episode_id)}
                isSortable
              />
            </OpenIncident>
          )}
          {episodes.length === LIMIT && <p className="hint">The newest {LIMIT} are listed.</p>}
        </div>
        {opened !== undefined && (
          <EpisodeDetail key={opened.episode_id} episode={opened} onClose={() => change({ incident: '' })} />
        )}
      </div>
    </div>
  )
}

/** What the cells need to open one: known when the page is drawn, unlike the columns. */
const OpenIncident = createContext<(id: number) => void>(() => {})
const column = columnsOf<Episode>()
const COLUMNS = column.columns([
  column.accessor(({ state }) => STATES.indexOf(state), {
    id: 'state',
    header: 'State',
    cell: ({ row: { original } }) => <Status status={original.state} kind={KINDS[original.state]} />,
  }),
  column.accessor('reason_code', { header: 'Incident', cell: ({ row }) => <OpenButton episode={row.original} /> }),
  column.accessor(({ scope, who, ip }) => (scope === 'cp_id' ? who : ip), {
    id: 'from',
    header: 'From',
    cell: ({ getValue }) => <Foreign text={getValue()} />,
  }),
  column.accessor('failure_count', {
    header: 'Failures',
    meta: { className: 'number not-narrow' },
    cell: ({ row: { original } }) => (original.failure_count === null ? '' : number(original.failure_count)),
  }),
  column.accessor(lastedMs, {
    id: 'lasted',
    header: 'Lasted',
    meta: { className: 'wide-only' },
    cell: ({ row }) => lasted(row.original),
  }),
  column.accessor('last_seen', { header: 'Last seen', cell: ({ getValue }) => <Ago at={getValue()} /> }),
])

function OpenButton({ episode }: { episode: Episode }) {
  const open = useContext(OpenIncident)
  return (
    <button type="button" className="link" onClick={() => open(episode.episode_id)}>
      {words(episode.reason_code)}
    </button>
  )
}

function lastedMs({ first_seen, last_seen }: Episode): number {
  return Date.parse(last_seen) - Date.parse(first_seen)
}

function lasted(episode: Episode): string {
  const seconds = lastedMs(episode) / 1000
  return seconds < 1 ? 'a moment' : duration(seconds)
}

function range({ first_seen, last_seen }: Episode) {
  return {
    start_time: new Date(Date.parse(first_seen) - BEFORE_MS).toISOString(),
    end_time: new Date(Date.parse(last_seen) + AFTER_MS).toISOString(),
  }
}

function EpisodeDetail({ episode, onClose }: { episode: Episode; onClose: () => void }) {
  const subject = episode.scope === 'cp_id' ? { who: episode.who } : { ip: episode.ip }
  const filter = { ...subject, ...range(episode) }
  const { data, error, refetch } = useQuery({
    queryKey: ['timeline', episode.episode_id, episode.last_seen],
    queryFn: () =>
      api<{ events: StoredEvent[]; next_cursor: string | null }>(
        'GET',
        `/audit/events${query({ ...filter, order: 'asc', limit: TIMELINE })}`,
      ),
    staleTime: Number.POSITIVE_INFINITY,
  })
  const { start_time, end_time } = range(episode)
  const pack = `/audit/evidence${query({ start_time, end_time, incident: episode.episode_id })}`
  return (
    <aside className="detail" aria-label={`Incident ${episode.episode_id}`}>
      <header>
        <h2>{words(episode.reason_code)}</h2>
        <IconButton label="Close" icon="close" onClick={onClose} />
      </header>
      <p className="lead">
        <Status status={episode.state} kind={KINDS[episode.state]} /> Incident {number(episode.episode_id)}
      </p>
      <p className="description">
        <Foreign text={episode.description} />
      </p>
      <Handle episode={episode} />
      <Handling episode={episode} />
      <h3>Timeline</h3>
      {error !== null && <Failure error={error} retry={refetch} />}
      {data === undefined ? (
        error === null && <Loading what="its events" />
      ) : (
        <Timeline events={data.events} episode={episode} />
      )}
      {data?.next_cursor && <p className="hint">The first {TIMELINE} events are shown.</p>}
      <footer className="tools">
        <Link className="button plain" href={eventsAt(filter)}>
          All events of it
        </Link>
        <a className="button plain" href={pack} download>
          Evidence pack
        </a>
      </footer>
    </aside>
  )
}

const ACTIONS = {
  acknowledge: { button: 'Acknowledge', title: 'Acknowledge incident', done: 'acknowledge', isRequired: false },
  note: { button: 'Add a note', title: 'Note on incident', done: 'notes', isRequired: true },
  resolve: { button: 'Resolve', title: 'Resolve incident', done: 'resolve', isRequired: false },
} as const

function Handle({ episode }: { episode: Episode }) {
  const { mayAct } = useSession()
  const [asking, setAsking] = useState<keyof typeof ACTIONS>()
  if (!mayAct) return null
  const isPossible = { acknowledge: episode.state === 'open', note: true, resolve: episode.state !== 'resolved' }
  return (
    <div className="tools">
      {(['acknowledge', 'note', 'resolve'] as const).map(
        action =>
          isPossible[action] && (
            <Button
              key={action}
              kind={action === 'acknowledge' ? 'primary' : 'plain'}
              onClick={() => setAsking(action)}
            >
              {ACTIONS[action].button}
            </Button>
          ),
      )}
      {asking !== undefined && <HandleDialog episode={episode} action={asking} onClose={() => setAsking(undefined)} />}
    </div>
  )
}

function HandleDialog(props: { episode: Episode; action: keyof typeof ACTIONS; onClose: () => void }) {
  const queries = useQueryClient()
  const [note, setNote] = useState('')
  const { button, title, done, isRequired } = ACTIONS[props.action]
  const id = props.episode.episode_id
  return (
    <ActionDialog
      title={`${title} ${id}`}
      action={button}
      run={() => api('POST', `/audit/incidents/${id}/${done}`, note.trim() === '' ? {} : { note: note.trim() })}
      onDone={() => {
        props.onClose()
        void queries.invalidateQueries({ queryKey: ['incidents'] })
      }}
      onClose={props.onClose}
    >
      <Field
        label="Note"
        value={note}
        onChange={setNote}
        charactersMax={500}
        isLong
        isRequired={isRequired}
        hint="Goes into the audit trail with your name, and stays there."
      />
    </ActionDialog>
  )
}

function Handling({ episode: { handling } }: { episode: Episode }) {
  if (handling.length === 0) return <p className="hint">Nobody has looked at it yet.</p>
  return (
    <ol className="handling">
      {handling.map(({ event_id, at, who, step, note }) => (
        <li key={event_id}>
          <b>{words(step)}</b> by <Foreign text={who} /> <Ago at={at} />
          {note !== null && (
            <blockquote>
              <Foreign text={note} />
            </blockquote>
          )}
        </li>
      ))}
    </ol>
  )
}

/** The counts at each escalation stand out; a run of the same between them is one line. */
function Timeline({ events, episode }: { events: StoredEvent[]; episode: Episode }) {
  const involved = {
    chargePoints: new Set(events.filter(({ action }) => action === 'AUTH_FAIL').map(({ who }) => who)),
    addresses: new Set(events.map(({ ip }) => ip).filter(ip => ip !== '-')),
  }
  return (
    <>
      <ol className="timeline">
        {runs(events).map(({ first, last, events: within }, n, all) => (
          <Fragment key={first.id}>
            {dayOf(first) !== (n > 0 && dayOf(all[n - 1]?.last ?? first)) && <li className="day">{dayOf(first)}</li>}
            <li className={episode.event_ids.includes(first.id) ? 'escalation' : ''}>
              <Time at={first.date_time} part="time" />
              <SeverityMark severity={first.severity} isShort />
              <Link href={eventsAt({ event: first.id })}>
                {first.action === 'INCIDENT' ? <b>{escalation(first)}</b> : words(first.action)}
                {first.reason_code !== null && first.action !== 'INCIDENT' && `: ${inSentence(first.reason_code)}`}
              </Link>
              {within > 1 && (
                <span className="muted">
                  {number(within)} times until <Time at={last.date_time} part="time" />
                </span>
              )}
            </li>
          </Fragment>
        ))}
      </ol>
      <h3>Involved</h3>
      <p>
        {count(involved.chargePoints.size, 'charge point')}:{' '}
        <Names names={involved.chargePoints} to={who => `/charge-points?cp=${encodeURIComponent(who)}`} />
      </p>
      <p>
        {count(involved.addresses.size, 'address', 'addresses')}:{' '}
        <Names names={involved.addresses} to={ip => eventsAt({ ip })} />
      </p>
    </>
  )
}

function dayOf({ date_time }: StoredEvent): string {
  return date_time.slice(0, 10)
}

const NAMES_SHOWN = 12

function Names({ names, to }: { names: ReadonlySet<string>; to: (name: string) => string }) {
  const shown = [...names].slice(0, NAMES_SHOWN)
  return (
    <>
      {shown.map(name => (
        <span key={name}>
          <Link href={to(name)}>
            <Foreign text={name} />
          </Link>{' '}
        </span>
      ))}
      {names.size > shown.length && `and ${names.size - shown.length} more`}
    </>
  )
}

function runs(events: readonly StoredEvent[]): { first: StoredEvent; last: StoredEvent; events: number }[] {
  const found: { first: StoredEvent; last: StoredEvent; events: number }[] = []
  for (const event of events) {
    const run = found.at(-1)
    const isSame = run?.first.action === event.action && run.first.reason_code === event.reason_code
    if (run !== undefined && isSame && event.action !== 'INCIDENT') {
      run.last = event
      run.events++
    } else found.push({ first: event, last: event, events: 1 })
  }
  return found
}

function escalation({ metadata_json, reason_code }: StoredEvent): string {
  try {
    const { failure_count } = JSON.parse(metadata_json ?? '{}') as { failure_count?: unknown }
    if (typeof failure_count === 'number')
      return `${words(reason_code ?? 'Incident')}, ${count(failure_count, 'failure')}`
  } catch {
    // An imported row may have any text there.
  }
  return words(reason_code ?? 'Incident')
}
