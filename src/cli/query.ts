/** `query`: the stored events that match, in the database or in archives, as a table, NDJSON or CSV. */
import { existsSync, readdirSync } from 'node:fs'
import { Command, InvalidArgumentError } from 'commander'
import { MANIFEST_NAME } from '../archive/format.ts'
import { searchArchives } from '../archive/search.ts'
import { ACCESS } from '../event/catalogue.ts'
import type { StoredEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import type { EventQueries, Order, PageRequest } from '../query/event-queries.ts'
import { archivingOf } from './archiving.ts'
import { type EventFormat, eventLine, eventsAsData, eventTitles } from './event-text.ts'
import { addFilterOptions, type FilterOptions, filterOf, wholeNumber } from './filters.ts'
import { UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'
import type { Terminal } from './terminal.ts'
import { openTrail, type Reading } from './trail.ts'

interface QueryOptions extends FilterOptions {
  readonly limit: number
  readonly cursor?: number
  readonly order: Order
  readonly all?: boolean
  readonly archive?: string
  readonly json?: boolean
  readonly csv?: boolean
}

export function queryCommand(shell: Shell): Command {
  return addFilterOptions(new Command('query').description('Show stored events, newest first.'))
    .option('--limit <n>', 'events of a page', wholeNumber(1, LIMITS.pageEventsMax), LIMITS.pageEventsDefault)
    .option('--cursor <id>', 'go on behind this event', wholeNumber(1, Number.MAX_SAFE_INTEGER))
    .option('--order <order>', 'desc (newest first) or asc', parseOrder, 'desc')
    .option('--all', 'all pages, not only one')
    .option('--archive <folder>', 'search the archives in this folder, not the database')
    .option('--json', 'one JSON object with the 14 columns a line')
    .option('--csv', 'CSV with the 14 columns')
    .addHelpText(
      'after',
      `
Examples:
  ev-central query --action AUTH_FAIL,INCIDENT --start-time -1h
  ev-central query --who CP-001 --severity WARN --limit 20
  ev-central query --start-time 2026-01-01 --end-time 2026-02-01 --all --csv > january.csv
  ev-central query --archive /mnt/archive --who CP-001 --order asc`,
    )
    .action((options: QueryOptions, command: Command) => query(options, command, shell))
}

function parseOrder(text: string): Order {
  if (text !== 'asc' && text !== 'desc') throw new InvalidArgumentError('It is asc or desc.')
  return text
}

async function query(options: QueryOptions, command: Command, shell: Shell): Promise<void> {
  if (options.json === true && options.csv === true) throw new UsageError('--json and --csv exclude each other')
  const format = options.json === true ? 'json' : options.csv === true ? 'csv' : 'table'
  const filter = filterOf(options)
  const isAll = options.all === true
  const access = isAll && format !== 'table' ? ACCESS.EXPORT : ACCESS.READ
  await using trail = await openSource(options.archive, shell, command, { access, filter: { ...filter } })

  const { terminal } = shell
  const start = options.cursor === undefined ? {} : { after: options.cursor }
  const request = { filter, limit: isAll ? LIMITS.pageEventsMax : options.limit, order: options.order, ...start }
  let isFirst = true
  let last: StoredEvent | undefined
  for await (const { events, next } of pages(trail, request, isAll)) {
    if (terminal.outputClosed.aborted) return
    await writeEvents(terminal, events, format, isFirst)
    isFirst = false
    last = events.at(-1) ?? last
    if (next !== null && !isAll) terminal.note(`more: --cursor ${next}, or --all`)
  }
  if (last === undefined && format === 'table') terminal.note('no events match')
}

type Source = Pick<EventQueries, 'page'> & AsyncDisposable

/** An archive needs no database; where there is one, it is compared with what left that. */
async function openSource(
  directory: string | undefined,
  shell: Shell,
  command: Command,
  reading: Reading,
): Promise<Source> {
  if (directory === undefined) return openTrail(shell, command, reading)
  if (!existsSync(directory)) throw new UsageError(`there is no folder ${directory}`)
  if (!readdirSync(directory).some(name => MANIFEST_NAME.test(name))) {
    throw new UsageError(`${directory} holds no archives`)
  }
  const { terminal } = shell
  const archiving = archivingOf(shell, command)
  await archiving.record(command.name(), { ...reading, filter: { ...reading.filter, archive: directory } })
  let looked = 0
  const search = searchArchives(directory, await archiving.known(), events => {
    looked += events
    terminal.progress(`searching: ${looked} events`)
  })
  return {
    page: request => search.page(request).finally(() => terminal.progressDone()),
    [Symbol.asyncDispose]: async () => search[Symbol.dispose](),
  }
}

/**
 * One page, or all of them. A page that ran out of time is short and names where to go on: taken up there until it is
 * full, so that what is shown does not depend on how busy the machine is.
 */
async function* pages(queries: Source, first: PageRequest, isAll: boolean) {
  let request = first
  let missing = first.limit
  for (;;) {
    const { events, next } = await queries.page(request)
    missing -= events.length
    const isOver = next === null || (!isAll && missing <= 0)
    yield { events, next: isOver ? next : null }
    if (isOver) return
    request = { ...request, limit: isAll ? first.limit : missing, after: next }
  }
}

async function writeEvents(
  terminal: Terminal,
  events: readonly StoredEvent[],
  format: EventFormat,
  isFirst: boolean,
): Promise<void> {
  if (format !== 'table') return terminal.write(eventsAsData(events, format, isFirst))
  const titles = isFirst && events.length > 0 ? [eventTitles(terminal)] : []
  const lines = [...titles, ...events.map(event => eventLine(event, terminal))]
  await terminal.write(lines.map(line => `${line}\n`).join(''))
}
