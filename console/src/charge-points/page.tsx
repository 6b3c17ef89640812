/** Charge points: how each of them is, and everything an operator can do to one. */
import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { createContext, useCallback, useContext, useMemo, useRef, useState } from 'react'
import { Link } from 'wouter'
import { api, Problem, query } from '../api.ts'
import { useKeys } from '../keys.ts'
import type { CpStatus, SecurityStatus } from '../model.ts'
import { useSession } from '../session.tsx'
import { count, duration, number, printable, words } from '../text.ts'
import { Detail } from '../ui/detail.tsx'
import { Ago, Button, Empty, Failure, Foreign, Loading, Status } from '../ui/parts.tsx'
import { columnsOf, Table } from '../ui/table.tsx'
import { eventsAt, useParams } from '../url.ts'
import { ActionMenu, RegisterDialog } from './actions.tsx'

const STATUSES: readonly (CpStatus | '')[] = ['', 'ACTIVE', 'OUT_OF_SERVICE', 'REVOKED']
const KINDS = { ACTIVE: 'good', OUT_OF_SERVICE: 'warn', REVOKED: 'bad' } as const
const PAGE = 200

interface Page {
  readonly charge_points: SecurityStatus[]
  readonly next_cursor: string | null
}

export function ChargePointsPage() {
  const { mayAct } = useSession()
  const [params, change] = useParams()
  const [isRegistering, setRegistering] = useState(false)
  const search = useRef<HTMLInputElement>(null)
  const status = STATUSES.find(known => known === params.status) ?? ''
  const prefix = params.prefix ?? ''
  const list = useInfiniteQuery({
    queryKey: ['charge-points', status, prefix],
    queryFn: ({ pageParam: cursor }) =>
      api<Page>('GET', `/security/status${query({ status, cp_id_prefix: prefix, limit: PAGE, cursor })}`),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: page => page.next_cursor ?? undefined,
    refetchInterval: 15_000,
    placeholderData: before => before,
  })
  const opened = params.cp === undefined || params.cp === '' ? undefined : params.cp
  useKeys({
    '/': () => search.current?.focus(),
    ...(opened === undefined ? {} : { Escape: () => change({ cp: '' }) }),
    ...(mayAct ? { n: () => setRegistering(true) } : {}),
  })
  const rows = useMemo(() => list.data?.pages.flatMap(page => page.charge_points) ?? [], [list.data])
  const open = useCallback((cp: string) => change({ cp }), [change])
  return (
    <div className="page charge-points">
      <div className="title">
        <h1>Charge points</h1>
        <fieldset className="segments" aria-label="Status">
          {STATUSES.map(known => (
            <label key={known} className={known === status ? 'on' : ''}>
              <input type="radio" name="status" checked={known === status} onChange={() => change({ status: known })} />
              {known === '' ? 'All' : words(known)}
            </label>
          ))}
        </fieldset>
        <div className="tools">
          <input
            ref={search}
            type="search"
            aria-label="Id begins with"
            placeholder="Id begins with"
            maxLength={48}
            spellCheck={false}
            defaultValue={prefix}
            onChange={({ target }) => change({ prefix: target.value.trim() }, { replace: true })}
          />
          {mayAct && (
            <Button kind="primary" icon="plus" onClick={() => setRegistering(true)}>
              Register
            </Button>
          )}
        </div>
      </div>
      <div className={`split ${opened === undefined ? '' : 'open'}`}>
        <div className="list">
          {list.error !== null && <Failure error={list.error} retry={list.refetch} />}
          {list.isPending && <Loading what="charge points" />}
          {list.data !== undefined && rows.length === 0 && (
            <Empty title={status === '' && prefix === '' ? 'No charge points yet' : 'None is like that'}>
              {status === '' && prefix === ''
                ? 'Register the first one.'
                : 'Choose another status, or a shorter beginning.'}
            </Empty>
          )}
          {rows.length > 0 && (
            <OpenChargePoint value={open}>
              <Table
                label="Charge points"
                columns={mayAct ? COLUMNS_TO_ACT : COLUMNS}
                rows={rows}
                rowId={({ cp_id }) => cp_id}
                selected={opened}
                isSortable={!list.hasNextPage}
              />
            </OpenChargePoint>
          )}
          {list.hasNextPage && (
            <Button onClick={() => void list.fetchNextPage()} isBusy={list.isFetchingNextPage}>
              Show more
            </Button>
          )}
        </div>
        {opened !== undefined && <ChargePointDetail key={opened} id={opened} onClose={() => change({ cp: '' })} />}
      </div>
      {isRegistering && <RegisterDialog onClose={() => setRegistering(false)} />}
    </div>
  )
}

/** What the cells need to open one: known when the page is drawn, unlike the columns. */
const OpenChargePoint = createContext<(id: string) => void>(() => {})
const column = columnsOf<SecurityStatus>()
const COLUMNS = column.columns([
  column.accessor('cp_id', { header: 'Charge point', cell: ({ getValue }) => <OpenButton id={getValue()} /> }),
  column.accessor(({ location }) => location ?? '', {
    id: 'location',
    header: 'Location',
    meta: { className: 'wide-only' },
    cell: ({ getValue }) => <Foreign text={getValue()} />,
  }),
  column.accessor('security_status', {
    header: 'Status',
    cell: ({ getValue }) => <Status status={getValue()} kind={KINDS[getValue()]} />,
  }),
  column.accessor(({ key_age_seconds }) => key_age_seconds ?? -1, {
    id: 'key',
    header: 'Key',
    meta: { className: 'not-narrow' },
    cell: ({ row }) => keyOf(row.original),
  }),
  column.accessor(({ last_success }) => last_success ?? '', {
    id: 'last_success',
    header: 'Last success',
    meta: { className: 'not-narrow' },
    cell: ({ getValue }) => (getValue() === '' ? <span className="muted">never</span> : <Ago at={getValue()} />),
  }),
  column.accessor('failures_in_window', {
    header: 'Failures',
    meta: { className: 'number' },
    cell: ({ row: { original } }) => <Failures of={original} />,
  }),
])
const COLUMNS_TO_ACT = [
  ...COLUMNS,
  column.display({
    id: 'actions',
    header: () => <span className="visually-hidden">Actions</span>,
    meta: { className: 'number' },
    cell: ({ row }) => <ActionMenu chargePoint={row.original} />,
  }),
]

function OpenButton({ id }: { id: string }) {
  const open = useContext(OpenChargePoint)
  return (
    <button type="button" className="link" onClick={() => open(id)}>
      <Foreign text={id} />
    </button>
  )
}

function Failures({ of: { cp_id, failures_in_window } }: { of: SecurityStatus }) {
  if (failures_in_window === 0) return <span className="muted">0</span>
  return <Link href={eventsAt({ who: cp_id, action: 'AUTH_FAIL' })}>{number(failures_in_window)}</Link>
}

function keyOf({ key_version, key_age_seconds }: SecurityStatus) {
  if (key_version === null) return <span className="muted">none</span>
  return (
    <>
      v{key_version} <span className="muted">{duration(key_age_seconds ?? 0)} old</span>
    </>
  )
}

function ChargePointDetail({ id, onClose }: { id: string; onClose: () => void }) {
  const { mayAct } = useSession()
  const { data, error, refetch } = useQuery({
    queryKey: ['charge-points', 'one', id],
    queryFn: () => api<SecurityStatus>('GET', `/security/status/${encodeURIComponent(id)}`),
    refetchInterval: 15_000,
  })
  const isUnknown = error instanceof Problem && error.code === 'CP_NOT_FOUND'
  return (
    <Detail
      label={`Charge point ${printable(id)}`}
      title={<Foreign text={id} />}
      tools={mayAct && data !== undefined && <ActionMenu chargePoint={data} />}
      onClose={onClose}
    >
      {isUnknown && <Empty title="It is not registered">Its events, if there are any, are in the trail.</Empty>}
      {error !== null && !isUnknown && <Failure error={error} retry={refetch} />}
      {data === undefined && error === null && <Loading what="the charge point" />}
      {data !== undefined && (
        <dl className="columns-of-event">
          <Line name="Status">
            <Status status={data.security_status} kind={KINDS[data.security_status]} />
          </Line>
          <Line name="Location">{data.location === null ? 'not given' : <Foreign text={data.location} />}</Line>
          <Line name="Key">{keyOf(data)}</Line>
          <Line name="Last success">{data.last_success === null ? 'never' : <Ago at={data.last_success} />}</Line>
          <Line name="Failures">
            {count(data.failures_in_window, 'possible guess', 'possible guesses')} in the window
          </Line>
          <Line name="Changed">
            <Ago at={data.updated_at} />
          </Line>
        </dl>
      )}
      <nav className="related" aria-label="Related events">
        <Link href={eventsAt({ who: id })}>Its events</Link>
        <Link href={eventsAt({ who: id, action: 'AUTH_FAIL' })}>Failed logins</Link>
        <Link href={eventsAt({ who: id, action: 'STATUS_CHANGE,KEY_GENERATE,KEY_RESET,KEY_REVOKE' })}>Changes</Link>
      </nav>
    </Detail>
  )
}

function Line({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}
