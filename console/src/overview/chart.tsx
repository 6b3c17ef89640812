/** Events per minute, stacked by severity. A click opens the events of that time; so does the table below it. */
import { useEffect, useMemo, useRef } from 'react'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { Link, useLocation } from 'wouter'
import type { Overview, Severity } from '../model.ts'
import { localTime, number, utc, words } from '../text.ts'
import { useShownTheme } from '../theme.ts'
import { eventsAt } from '../url.ts'

const HEIGHT = 190
/** From the top of the stack down. */
const STACK: readonly Severity[] = ['CRITICAL', 'ERROR', 'WARN', 'INFO']
const CLICK_SECONDS = 120

type Events = Overview['events']

export default function EventsChart({ events }: { events: Events }) {
  const place = useRef<HTMLDivElement>(null)
  const chart = useRef<uPlot>(undefined)
  const [, go] = useLocation()
  const theme = useShownTheme()
  const data = useMemo(() => stacked(events), [events])
  const latest = useRef(data)
  latest.current = data
  const eventsNow = useRef(events)
  eventsNow.current = events
  const pointed = useRef<HTMLParagraphElement>(null)

  // biome-ignore lint/correctness/useExhaustiveDependencies: another theme has other colours
  useEffect(() => {
    const box = place.current
    if (box === null) return
    const made = new uPlot(
      options(
        box,
        second => go(eventsAt(around(second))),
        minute => {
          if (pointed.current !== null)
            pointed.current.textContent = minute === null ? '' : said(eventsNow.current, minute)
        },
      ),
      latest.current,
      box,
    )
    chart.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: box.clientWidth, height: HEIGHT }))
    observer.observe(box)
    return () => {
      observer.disconnect()
      made.destroy()
    }
  }, [theme, go])
  useEffect(() => chart.current?.setData(data), [data])

  return (
    <>
      <div className="legend">
        {STACK.toReversed().map(severity => (
          <Link
            key={severity}
            className={`key ${severity.toLowerCase()}`}
            href={eventsAt({ severity, start_time: events.start_time })}
          >
            {words(severity)} <b>{number(events.by_severity[severity] ?? 0)}</b>
          </Link>
        ))}
      </div>
      <div ref={place} className="plot" aria-hidden="true" />
      <p ref={pointed} className="pointed" aria-hidden="true" />
      <details className="hours">
        <summary>By hour</summary>
        <Hours events={events} />
      </details>
    </>
  )
}

/** The chart for readers, for keys and for fingers. */
function Hours({ events }: { events: Events }) {
  return (
    <table className="table">
      <caption className="visually-hidden">Events per hour by severity</caption>
      <thead>
        <tr>
          <th scope="col">From (UTC)</th>
          {STACK.map(severity => (
            <th key={severity} scope="col" className="number">
              {words(severity)}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {hours(events)
          .toReversed()
          .map(({ start_time, end_time, counts }) => (
            <tr key={start_time}>
              <th scope="row">
                <Link href={eventsAt({ start_time, end_time })}>{utc(start_time).slice(5, 16)}</Link>
              </th>
              {counts.map(({ severity, n }) => (
                <td key={severity} className="number">
                  {n === 0 ? (
                    <span className="muted">0</span>
                  ) : (
                    <Link href={eventsAt({ severity, start_time, end_time })}>{number(n)}</Link>
                  )}
                </td>
              ))}
            </tr>
          ))}
      </tbody>
    </table>
  )
}

/** What the minute has that one points at; its time here, too. */
function said({ start_time, per_minute }: Events, minute: number): string {
  const at = new Date(Date.parse(start_time) + minute * 60_000).toISOString()
  const counts = STACK.flatMap(severity => {
    const n = per_minute[severity][minute] ?? 0
    return n === 0 ? [] : [`${words(severity)} ${number(n)}`]
  })
  return `${utc(at).slice(0, 16)} UTC, ${localTime(at)} here: ${counts.join(', ') || 'no events'}`
}

function around(second: number): Record<string, string> {
  const iso = (at: number) => new Date(at * 1000).toISOString()
  return { start_time: iso(second - CLICK_SECONDS), end_time: iso(second + CLICK_SECONDS) }
}

/** uPlot draws each series from the ground up, so the highest sum comes first. */
function stacked({ start_time, per_minute }: Events): uPlot.AlignedData {
  const first = Date.parse(start_time) / 1000
  const minutes = per_minute.INFO.length
  const times = Array.from({ length: minutes }, (_, minute) => first + minute * 60)
  const rows: number[][] = []
  let below = new Array<number>(minutes).fill(0)
  for (const severity of STACK.toReversed()) {
    below = below.map((sum, minute) => sum + (per_minute[severity][minute] ?? 0))
    rows.unshift(below)
  }
  return [times, ...rows] as uPlot.AlignedData
}

function hours({ start_time, per_minute }: Events) {
  const first = Date.parse(start_time)
  const at = (hour: number) => new Date(first + hour * 3_600_000).toISOString()
  return Array.from({ length: Math.ceil(per_minute.INFO.length / 60) }, (_, hour) => ({
    start_time: at(hour),
    end_time: at(hour + 1),
    counts: STACK.map(severity => {
      const minutes = per_minute[severity].slice(hour * 60, hour * 60 + 60)
      return { severity, n: minutes.reduce((sum, n) => sum + n, 0) }
    }),
  }))
}

function options(
  box: HTMLElement,
  onClick: (second: number) => void,
  onPoint: (minute: number | null) => void,
): uPlot.Options {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim()
  const axis = {
    stroke: colour('muted'),
    font: `11px ${style.getPropertyValue('--sans')}`,
    ticks: { show: false },
  }
  return {
    width: box.clientWidth,
    height: HEIGHT,
    padding: [8, 0, 0, 0],
    tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC'),
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: { y: { range: (_chart, _min, max) => [0, Math.max(4, max * 1.05)] } },
    axes: [
      { ...axis, grid: { show: false }, space: 70, size: 26, values: '{HH}:{mm}' },
      { ...axis, grid: { stroke: colour('line'), width: 1 }, size: 44 },
    ],
    series: [
      {},
      ...STACK.map(severity => ({
        label: words(severity),
        fill: colour(`chart-${severity.toLowerCase()}`),
        width: 0,
        points: { show: false },
        paths: uPlot.paths.stepped?.({ align: 1 }) as uPlot.Series.PathBuilder,
      })),
    ],
    hooks: {
      setCursor: [chart => onPoint(chart.cursor.idx ?? null)],
      ready: [
        chart =>
          chart.over.addEventListener('click', () => {
            const { left = -1 } = chart.cursor
            if (left >= 0) onClick(Math.round(chart.posToVal(left, 'x')))
          }),
      ],
    },
  }
}
