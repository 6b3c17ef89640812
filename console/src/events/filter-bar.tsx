/** All filters of the API, in a row. */
import { type RefObject, useEffect, useRef, useState } from 'react'
import { ACTIONS, SEVERITIES, type Severity } from '../../../src/event/catalogue.ts'
import { words } from '../text.ts'
import { ActionDialog, Field } from '../ui/dialog.tsx'
import { Choices, Divider, Item, Menu } from '../ui/menu.tsx'
import { Button, SeverityMark } from '../ui/parts.tsx'
import type { Filter } from './feed.ts'
import { FILTERS, type FilterChange } from './filter.ts'

const RANGES = [
  ['Last 15 minutes', 15 * 60],
  ['Last hour', 3_600],
  ['Last 24 hours', 86_400],
  ['Last 7 days', 7 * 86_400],
] as const

export function FilterBar(props: { filter: Filter; change: FilterChange; first: RefObject<HTMLInputElement | null> }) {
  const { filter, change } = props
  const [isAskingTime, setAskingTime] = useState(false)
  const isFiltered = Object.keys(filter).length > 0
  const severities = listOf(filter.severity)
  const actions = listOf(filter.action)
  return (
    <search className="filters">
      <TextFilter
        label="Who"
        value={filter.who}
        onChange={who => change({ who })}
        charactersMax={64}
        place={props.first}
      />
      <TextFilter label="Address" value={filter.ip} onChange={ip => change({ ip })} charactersMax={64} />
      <Menu label={labelOf('Severity', severities)} icon="down" isOn={severities.length > 0}>
        <Choices
          options={SEVERITIES}
          chosen={severities as Severity[]}
          onChange={chosen => change({ severity: chosen.join(',') })}
          show={severity => <SeverityMark severity={severity} />}
        />
      </Menu>
      <Menu label={labelOf('Action', actions)} icon="down" isOn={actions.length > 0}>
        <Choices
          options={ACTIONS}
          chosen={actions as (typeof ACTIONS)[number][]}
          onChange={chosen => change({ action: chosen.join(',') })}
          show={words}
        />
      </Menu>
      <TextFilter
        label="Reason"
        value={filter.reason_code}
        onChange={reason_code => change({ reason_code: reason_code.toUpperCase() })}
        charactersMax={1_000}
      />
      <TextFilter
        label="Request"
        value={filter.request_id}
        onChange={request_id => change({ request_id })}
        charactersMax={128}
      />
      <Menu
        label={timeLabel(filter)}
        icon="down"
        isOn={filter.start_time !== undefined || filter.end_time !== undefined}
      >
        {RANGES.map(([label, seconds]) => (
          <Item key={label} onSelect={() => change({ start_time: before(seconds), end_time: '' })}>
            {label}
          </Item>
        ))}
        <Item onSelect={() => setAskingTime(true)}>From, to…</Item>
        <Divider />
        <Item onSelect={() => change({ start_time: '', end_time: '' })}>Any time</Item>
      </Menu>
      {isFiltered && (
        <Button kind="quiet" icon="close" onClick={() => change(Object.fromEntries(FILTERS.map(name => [name, ''])))}>
          Clear
        </Button>
      )}
      {isAskingTime && <TimeDialog filter={filter} change={change} onClose={() => setAskingTime(false)} />}
    </search>
  )
}

function TextFilter(props: {
  label: string
  value: string | undefined
  onChange: (value: string) => void
  charactersMax: number
  place?: RefObject<HTMLInputElement | null>
}) {
  const { value = '' } = props
  const own = useRef<HTMLInputElement>(null)
  const place = props.place ?? own
  // Another value from outside (a link, the history) takes the place of what was typed; the focus stays.
  useEffect(() => {
    if (place.current !== null) place.current.value = value
  }, [place, value])
  return (
    <input
      ref={place}
      type="search"
      className={value === '' ? '' : 'on'}
      aria-label={props.label}
      placeholder={props.label}
      defaultValue={value}
      maxLength={props.charactersMax}
      spellCheck={false}
      autoComplete="off"
      onBlur={({ target }) => target.value.trim() !== value && props.onChange(target.value.trim())}
      onKeyDown={({ key, currentTarget }) => key === 'Enter' && props.onChange(currentTarget.value.trim())}
    />
  )
}

function TimeDialog({ filter, change, onClose }: { filter: Filter; change: FilterChange; onClose: () => void }) {
  const [from, setFrom] = useState(filter.start_time ?? '')
  const [to, setTo] = useState(filter.end_time ?? '')
  const done = (times: { start_time: string; end_time: string }) => {
    change(times)
    onClose()
  }
  const run = async () => ({ start_time: canonical(from), end_time: canonical(to) })
  const hint = 'UTC, for example 2026-03-01 08:00 or 2026-03-01T08:00:20.123Z'
  return (
    <ActionDialog title="From, to" action="Show" run={run} onDone={done} onClose={onClose}>
      <Field label="From" value={from} onChange={setFrom} charactersMax={40} hint={hint} pattern={TIME} />
      <Field label="To, exclusive" value={to} onChange={setTo} charactersMax={40} hint={hint} pattern={TIME} />
    </ActionDialog>
  )
}

const TIME = String.raw`\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?Z?)?`

function canonical(text: string): string {
  if (text === '') return ''
  const iso = text.replace(' ', 'T')
  return new Date(/Z$|T/.test(iso) ? (iso.endsWith('Z') ? iso : `${iso}Z`) : `${iso}T00:00Z`).toISOString()
}

function before(seconds: number): string {
  return new Date(Date.now() - seconds * 1000).toISOString()
}

function listOf(text: string | undefined): string[] {
  return text === undefined || text === '' ? [] : text.split(',')
}

function labelOf(name: string, chosen: readonly string[]): string {
  if (chosen.length === 0) return name
  return chosen.length === 1 ? words(chosen[0] as string) : `${name}: ${chosen.length}`
}

function timeLabel({ start_time, end_time }: Filter): string {
  const short = (iso: string) => iso.slice(5, 16).replace('T', ' ')
  if (start_time !== undefined && end_time !== undefined) return `${short(start_time)} to ${short(end_time)}`
  if (start_time !== undefined) return `Since ${short(start_time)}`
  return end_time === undefined ? 'Any time' : `Before ${short(end_time)}`
}
