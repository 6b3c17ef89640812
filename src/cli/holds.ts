/** `archive hold`: legal holds, which keep time ranges of the trail in the database. */
import { Argument, Command } from 'commander'
import { liftHold, liftSharedHold, listSharedHolds, placeHold, placeSharedHold } from '../archive/holds.ts'
import { readRetention } from '../archive/sqlite-trail.ts'
import { LIMITS } from '../limits.ts'
import { prepareSharedAt } from '../service/shared-database.ts'
import { type LegalHold, listHolds } from '../store/retention.ts'
import { freeText, wholeNumber } from './filters.ts'
import { UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'
import { printTable } from './table.ts'
import { parseTime } from './times.ts'
import { requireEvents } from './trail.ts'

interface AddOptions {
  readonly from: string
  readonly to: string
  readonly reason: string
  readonly json?: boolean
}

export function holdCommand(shell: Shell): Command {
  const group = new Command('hold')
    .description(
      'Place, list and lift legal holds. While one lasts, no segment with events of its time range leaves (with PostgreSQL, no partition, and none behind it), and none of them is erased.',
    )
    .addHelpText('after', '\nExample:\n  ev-central archive hold list')
  group
    .command('add')
    .description('Keep the events of a time range. The trail gets a SYSTEM event, HOLD_PLACED.')
    .requiredOption('--from <time>', 'from this time on: ISO-8601, or relative such as -7d', parseTime)
    .requiredOption('--to <time>', 'before this time', parseTime)
    .requiredOption('--reason <text>', 'for the trail, for example a case number', freeText(LIMITS.reasonCharactersMax))
    .option('--json', 'as one JSON object')
    .addHelpText(
      'after',
      '\nExample:\n  ev-central archive hold add --from 2026-03-01 --to 2026-04-01 --reason "case 4711"',
    )
    .action((options: AddOptions, command: Command) => add(options, command, shell))
  group
    .command('list')
    .description('List the holds that last.')
    .option('--json', 'one JSON object a line')
    .addHelpText('after', '\nExample:\n  ev-central archive hold list')
    .action((options: { json?: boolean }, command: Command) => list(options, command, shell))
  group
    .command('remove')
    .description('End a hold. The trail gets a SYSTEM event, HOLD_LIFTED.')
    .addArgument(new Argument('<id>', 'number of the hold').argParser(wholeNumber(1, Number.MAX_SAFE_INTEGER)))
    .addHelpText('after', '\nExample:\n  ev-central archive hold remove 1')
    .action((id: number, _options: object, command: Command) => remove(id, command, shell))
  return group
}

async function add({ from, to, reason, json }: AddOptions, command: Command, shell: Shell): Promise<void> {
  if (from >= to) throw new UsageError('--to must lie behind --from')
  const hold = { start_time: from, end_time: to, reason }
  const url = await sharedUrl(command, shell)
  const placed =
    url === undefined
      ? await inFolder(command, shell, auditDatabase => placeHold(auditDatabase, hold, shell.user))
      : await placeSharedHold(url, hold, shell.user)
  shell.terminal.print(
    json === true ? JSON.stringify(placed) : `legal hold ${placed.id} keeps the events of ${from} to ${to}`,
  )
}

async function list(options: { json?: boolean }, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const url = await sharedUrl(command, shell)
  const holds = url === undefined ? readRetention(databaseOf(command, shell), listHolds) : await listSharedHolds(url)
  if (options.json === true) {
    for (const hold of holds) terminal.print(JSON.stringify(hold))
    return
  }
  if (holds.length === 0) terminal.note('there is no legal hold')
  const columns = [{ title: 'id' }, { title: 'from' }, { title: 'to' }, { title: 'reason', isElastic: true } as const]
  printTable(
    terminal,
    [...columns, { title: 'placed by', isElastic: true }, { title: 'placed' }],
    holds.map((hold: LegalHold) => [
      String(hold.id),
      hold.start_time,
      hold.end_time,
      hold.reason,
      hold.placed_by,
      hold.placed_at,
    ]),
  )
}

async function remove(id: number, command: Command, shell: Shell): Promise<void> {
  const url = await sharedUrl(command, shell)
  const lifted =
    url === undefined
      ? await inFolder(command, shell, auditDatabase => liftHold(auditDatabase, id, shell.user))
      : await liftSharedHold(url, id, shell.user)
  shell.terminal.print(`legal hold ${id} (${lifted.reason}) ended`)
}

/** Of the PostgreSQL that has the trail, when there is one. @throws {Refusal} MIGRATION_REFUSED */
async function sharedUrl(command: Command, shell: Shell): Promise<string | undefined> {
  const { databaseUrl } = shell.settings(command)
  if (databaseUrl !== undefined) await prepareSharedAt(databaseUrl)
  return databaseUrl
}

/** Refused also when the log was moved away while the database was waited for: then the change is of a folder that does not count. */
async function inFolder<T>(command: Command, shell: Shell, change: (auditDatabase: string) => Promise<T>): Promise<T> {
  const changed = await change(databaseOf(command, shell))
  shell.folder(command)
  return changed
}

function databaseOf(command: Command, shell: Shell): string {
  const folder = shell.folder(command)
  requireEvents(folder)
  return folder.auditDatabase
}
