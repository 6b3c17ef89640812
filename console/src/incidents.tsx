/** Incidents as episodes: what happened, how far it went, who does something about it. */
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { createContext, Fragment, useCallback, useContext, useMemo, useState } from 'react'
import { Link } from 'wouter'
import { api, query } from './api.ts'
import { useKeys } from './keys.ts'
import { useLive } from './live.tsx'
import { type Episode, INCIDENTS_LISTED, type IncidentState, type StoredEvent } from './model.ts'
import { PackButton } from './pack-button.tsx'
import { useSession } from './session.tsx'
import { count, duration, inSentence, number, words } from './text.ts'
import { Detail } from './ui/detail.tsx'
import { ActionDialog, Field } from './ui/dialog.tsx'
import { Ago, Button, Empty, Failure, Foreign, Loading, SeverityMark, Status, scrolling, Time } from './ui/parts.tsx'
import { columnsOf, Table } from './ui/table.tsx'
import { eventsAt, useParams } from './url.ts'

const STATES: readonly (IncidentState | '')[] = ['', 'open', 'acknowledged', 'resolved']
const KINDS = { open: 'bad', acknowledged: 'warn', resolved: 'good' } as const
/** What came shortly before an incident belongs to its story. */
const BEFORE_MS = 10 * 60_000
const AFTER_MS = 5 * 60_000
const TIMELINE = 1_000
const NONE: Episode[] = []

export function IncidentsPage() {
  const [params, change] = useParams()
  const { overview } = useLive()
  // Read again when there is another number of incidents: each read of the trail is on record, so not by the clock.
  const marker = JSON.stringify(overview?.incidents ?? null)
  const { data, error, refetch } = useQuery({
    queryKey: ['incidents', marker],
    queryFn: () => api<{ episodes: Episode[] }>('GET', `/audit/incidents${query({ limit: INCIDENTS_LISTED })}`),
    placeholderData: before => before,
  })
  const isCut = data?.episodes.length === INCIDENTS_LISTED
  const asked = STATES.find(state => state === params.state) ?? ''
  const episodes = data?.episodes ?? NONE
  const shown = useMemo(() => episodes.filter(({ state }) => asked === '' || state === asked), [episodes, asked])
  const open = useCallback((id: number) => change({ incident: String(id) }), [change])
  const linked = Number(params.incident) || 0
  const opened = episodes.find(({ event_ids }) => event_ids.includes(linked))
  const isMissed = data !== undefined && linked > 0 && opened === undefined
  const isOpen = opened !== undefined || isMissed
  useKeys(!isOpen ? {} : { Escape: () => change({ incident: '' }) })
  return (
    <div className="page incidents">
      <div className="title">
        <h1>Incidents</h1>
        <fieldset className="segments" aria-label="State">
          {STATES.map(state => (
            <label key={state} className={state === asked ? 'on' : ''}>
              <input type="radio" name="state" checked={state === asked} onChange={() => change({ state })} />
              {state === '' ? 'All' : words(state)}
              {data !== undefined && (
                <b>{number(episodes.filter(episode => state === '' || episode.state === state).length)}</b>
              )}
            </label>
          ))}
        </fieldset>
      </div>
      <div className={`split ${isOpen ? 'open' : ''}`}>
        <div className="list">
          {error !== null && <Failure error={error} retry={refetch} />}
          {data === undefined && error === null && <Loading what="incidents" />}
          {data !== undefined && shown.length === 0 && (
            <Empty title={asked === '' ? 'No incidents' : `No ${asked} incidents${isCut ? ' among the newest' : ''}`}>
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
          {isCut && <p className="hint">The newest {INCIDENTS_LISTED} are listed.</p>}
        </div>
        {isMissed && (
          <Detail label="Incident" title="Not among the newest" onClose={() => change({ incident: '' })}>
            <p>
              The newest {INCIDENTS_LISTED} incidents are listed. This one is in the trail:{' '}
              <Link href={eventsAt({ event: linked })}>event {number(linked)}</Link>.
            </p>
          </Detail>
        )}
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

interface Story {
  readonly events: readonly StoredEvent[]
  /** Behind it only the incidents themselves are among the events; undefined when all are. */
  readonly cutBehind: number | undefined
}

/** However long an attack was, each of its escalations is in its story. */
async function storyOf(filter: Readonly<Record<string, string>>): Promise<Story> {
  const page = (more: { action?: string }) =>
    api<{ events: StoredEvent[]; next_cursor: string | null }>(
      'GET',
      `/audit/events${query({ ...filter, ...more, order: 'asc', limit: TIMELINE })}`,
    )
  const { events, next_cursor } = await page({})
  const last = events.at(-1)
  if (next_cursor === null || last === undefined) return { events, cutBehind: undefined }
  const incidents = await page({ action: 'INCIDENT' })
  return { events: [...events, ...incidents.events.filter(({ id }) => id > last.id)], cutBehind: last.id }
}

function EpisodeDetail({ episode, onClose }: { episode: Episode; onClose: () => void }) {
  const subject = episode.scope === 'cp_id' ? { who: episode.who } : { ip: episode.ip }
  const filter = { ...subject, ...range(episode) }
  const { data, error, refetch } = useQuery({
    queryKey: ['timeline', episode.episode_id, episode.last_seen],
    queryFn: () => storyOf(filter),
    staleTime: Number.POSITIVE_INFINITY,
  })
  const { start_time, end_time } = range(episode)
  const pack = `/audit/evidence${query({ start_time, end_time, incident: episode.episode_id })}`
  return (
    <Detail label={`Incident ${episode.episode_id}`} title={words(episode.reason_code)} onClose={onClose}>
      <p className="lead">
        <Status status={episode.state} kind={KINDS[episode.state]} /> Incident {number(episode.episode_id)}
      </p>
      <p className="description" {...scrolling(episode.description)}>
        <Foreign text={episode.description} />
      </p>
      <Handle episode={episode} />
      <Handling episode={episode} />
      <h3>Timeline</h3>
      {error !== null && <Failure error={error} retry={refetch} />}
      {data === undefined ? (
        error === null && <Loading what="its events" />
      ) : (
        <Timeline story={data} episode={episode} />
      )}
      <footer className="tools">
        <Link className="button plain" href={eventsAt(filter)}>
          All events of it
        </Link>
      </footer>
      <PackButton address={pack} label="Evidence pack" />
    </Detail>
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
function Timeline({ story: { events, cutBehind }, episode }: { story: Story; episode: Episode }) {
  const involved = {
    chargePoints: new Set(events.filter(({ action }) => action === 'AUTH_FAIL').map(({ who }) => who)),
    addresses: new Set(events.map(({ ip }) => ip).filter(ip => ip !== '-')),
  }
  const isCut = cutBehind !== undefined
  const chargePoints = Math.max(involved.chargePoints.size, ...events.map(guessedAt))
  return (
    <>
      <ol className="timeline">
        {runs(events).map(({ first, last, events: within }, n, all) => (
          <Fragment key={first.id}>
            {n > 0 && isCut && last.id > cutBehind && (all[n - 1]?.last.id ?? 0) <= cutBehind && (
              <li className="day">More events than can be listed. From here on, only its escalations:</li>
            )}
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
        {isCut && episode.scope !== 'cp_id' && 'at least '}
        {count(chargePoints, 'charge point')}:{' '}
        <Names
          names={involved.chargePoints}
          of={chargePoints}
          to={who => `/charge-points?cp=${encodeURIComponent(who)}`}
        />
      </p>
      <p>
        {isCut && episode.scope !== 'ip' && 'at least '}
        {count(involved.addresses.size, 'address', 'addresses')}:{' '}
        <Names names={involved.addresses} of={involved.addresses.size} to={ip => eventsAt({ ip })} />
      </p>
    </>
  )
}

function dayOf({ date_time }: StoredEvent): string {
  return date_time.slice(0, 10)
}

const NAMES_SHOWN = 12

/** The first of so many. */
function Names({ names, of, to }: { names: ReadonlySet<string>; of: number; to: (name: string) => string }) {
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
      {of > shown.length && `and ${number(of - shown.length)} more`}
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
  const failures = countIn(metadata_json, 'failure_count')
  const name = words(reason_code ?? 'Incident')
  return failures === 0 ? name : `${name}, ${count(failures, 'failure')}`
}

/** How many charge points had been tried when this was raised. */
function guessedAt({ action, metadata_json }: StoredEvent): number {
  return action === 'INCIDENT' ? countIn(metadata_json, 'distinct_cp_ids') : 0
}

/** 0 where there is none: an imported row may have any text there. */
function countIn(metadata_json: string | null, name: string): number {
  try {
    const value = JSON.parse(metadata_json ?? '{}')?.[name] as unknown
    return typeof value === 'number' ? value : 0
  } catch {
    return 0
  }
}
