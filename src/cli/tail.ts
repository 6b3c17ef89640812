/** `tail`: the last events, then every new one as it is indexed. */
import { setTimeout as delay } from 'node:timers/promises'
import { Command } from 'commander'
import { ERRORS, Refusal } from '../errors.ts'
import { ACCESS } from '../event/catalogue.ts'
import type { StoredEvent } from '../event/event.ts'
import { LIMITS } from '../limits.ts'
import { createFollower } from '../query/follower.ts'
import { eventLine, eventsAsData, eventTitles } from './event-text.ts'
import { addFilterOptions, type FilterOptions, filterOf, wholeNumber } from './filters.ts'
import type { Shell } from './shell.ts'
import { stopRequest } from './signals.ts'
import { openTrail } from './trail.ts'

const POLL_MS = 200
const RETRY_MS = 1_000

interface TailOptions extends FilterOptions {
  readonly lines: number
  readonly json?: boolean
}

export function tailCommand(shell: Shell): Command {
  return addFilterOptions(new Command('tail').description('Show the last events, then new ones as they arrive.'))
    .option('-n, --lines <n>', 'how many of the past to begin with', wholeNumber(0, LIMITS.pageEventsMax), 10)
    .option('--json', 'one JSON object with the 14 columns a line')
    .addHelpText(
      'after',
      `
Ends with Ctrl-C.

Examples:
  ev-central tail
  ev-central tail --severity CRITICAL --json`,
    )
    .action((options: TailOptions, command: Command) => tail(options, command, shell))
}

async function tail(options: TailOptions, command: Command, shell: Shell): Promise<void> {
  const filter = filterOf(options)
  const { terminal } = shell
  using stop = stopRequest()
  const ended = AbortSignal.any([stop.signal, terminal.outputClosed])
  await using trail = await openTrail(shell, command, { access: ACCESS.READ, filter: { ...filter } })

  const write = (events: readonly StoredEvent[]): Promise<void> => {
    if (options.json === true) return terminal.write(eventsAsData(events, 'json', false))
    return terminal.write(events.map(event => `${eventLine(event, terminal)}\n`).join(''))
  }

  // The head first: what arrives while the past is read is beyond it, and comes with what follows.
  const head = await trail.lastId()
  if (options.json !== true) terminal.print(eventTitles(terminal))
  if (options.lines > 0) {
    const past = await trail.page({ filter, limit: options.lines, order: 'desc', after: head + 1 })
    await write(past.events.toReversed())
  }
  const follower = createFollower({ queries: trail, filter, after: head })
  const next = () => trail.lastId().then(newHead => follower.next(newHead))
  while (!ended.aborted) {
    const events = await next().catch(refusedForNow)
    if (events === undefined) await pause(RETRY_MS, ended)
    else if (events.length === 0) await pause(POLL_MS, ended)
    else await write(events)
  }
}

/** A database that is locked or being replaced comes back; the follower's position has not moved. */
function refusedForNow(error: unknown): undefined {
  if (error instanceof Refusal && ERRORS[error.code].retry === 'after a while') return undefined
  throw error
}

function pause(ms: number, ended: AbortSignal): Promise<void> {
  return delay(ms, undefined, { signal: ended }).catch(() => {})
}
