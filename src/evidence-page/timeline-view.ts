/** The events as a table, oldest first, runs of the same as one line; only as many lines as somebody wants to see. */
import { formatRow } from '../evidence/pack.ts'
import type { CheckedEvent } from '../evidence/verify-pack.ts'
import { byId, element } from './elements.ts'
import { formatTime, type Run, runsOf } from './story.ts'
import { titleOf } from './words.ts'

const RUNS_PER_STEP = 300
const SEVERITIES = ['INFO', 'WARN', 'ERROR', 'CRITICAL']

export function showTimeline(events: readonly CheckedEvent[]): void {
  const body = byId('timeline').querySelector('tbody') as HTMLElement
  const least = byId<HTMLSelectElement>('least')
  const more = byId<HTMLButtonElement>('more')
  let runs: Run[] = []
  let shown = 0

  function showMore(): void {
    body.append(...runs.slice(shown, shown + RUNS_PER_STEP).map(runRow))
    shown = Math.min(runs.length, shown + RUNS_PER_STEP)
    more.hidden = shown === runs.length
    byId('shown').textContent = `${shown} of ${runs.length} lines`
  }

  function begin(): void {
    const from = SEVERITIES.indexOf(least.value)
    runs = runsOf(
      events.filter(({ row }) => SEVERITIES.indexOf(row.severity) >= from || !SEVERITIES.includes(row.severity)),
    )
    shown = 0
    body.replaceChildren()
    showMore()
  }

  least.onchange = begin
  more.onclick = showMore
  begin()
}

function runRow({ first, last, count, names, isProven }: Run): HTMLElement {
  const { row } = first
  const when = formatTime(row.date_time) + (count === 1 ? '' : ` to ${formatTime(last.row.date_time)}`)
  const title = titleOf(row) + (count === 1 ? '' : `, ${count} times`)
  const others = names.size === 1 ? '' : ` and ${names.size - 1} other${names.size === 2 ? '' : 's'}`
  const ids = count === 1 ? String(row.id) : `${row.id} to ${last.row.id}`
  const proof = isProven ? element('span', 'proven', 'ok') : element('span', 'NOT PROVEN', 'bad')
  return element('tr', [
    element('td', when, 'when'),
    element('td', [details(first, title)], 'text'),
    element('td', first.isErased ? '(erased)' : row.who + others, 'text'),
    element('td', row.ip),
    element('td', row.severity, row.severity === 'INFO' ? '' : 'warn'),
    element('td', [element('span', `${ids} `), proof]),
  ])
}

/** All columns of the first event of a run, made when somebody opens it. */
function details({ row, isErased }: CheckedEvent, title: string): HTMLElement {
  const made = element('details', [element('summary', title)])
  if (row.description !== '') made.append(element('p', row.description, 'muted'))
  if (isErased)
    made.append(element('p', 'The personal data of this event was erased; that it happened is still proven.', 'muted'))
  made.addEventListener(
    'toggle',
    () => {
      const columns = Object.entries(JSON.parse(formatRow(row)) as Record<string, unknown>)
      const pairs = columns.flatMap(([name, value]) => [element('dt', name), element('dd', String(value ?? '-'))])
      made.append(element('dl', pairs))
    },
    { once: true },
  )
  return made
}
