/** `instances` and `adopt`: who feeds the shared log, who is gone for good, and what is found in the journal of one that was. */
import { Command } from 'commander'
import { counted } from '../counted.ts'
import { adoptJournal, forgetInstance, type Instance, readInstances } from '../service/instances.ts'
import { UsageError } from './outcome.ts'
import { silentLogger } from './security-door.ts'
import type { Shell } from './shell.ts'
import { printTable } from './table.ts'

export function instancesCommand(shell: Shell): Command {
  const group = new Command('instances')
    .description('The instances that share the database of EVC_DATABASE_URL, by the id of their journal.')
    .addHelpText('after', '\nExample:\n  ev-central instances list')
  group
    .command('list', { isDefault: true })
    .description(
      'List them: when each was last seen, and how many records of its journal are no rows, as far as is known.',
    )
    .option('--json', 'one JSON object a line')
    .addHelpText('after', '\nExample:\n  ev-central instances list')
    .action((options: { json?: boolean }, command: Command) => list(options, command, shell))
  group
    .command('forget')
    .description(
      'Declare that the machine of an instance is gone for good, and its journal with it: SYSTEM / LOSS_DECLARED.',
    )
    .argument('<journal>', 'id of its journal, as `instances list` shows it')
    .addHelpText(
      'after',
      `
Refused while it was seen less than a minute ago. If its disk returns, ev-central adopt takes what is on it.

Example:
  ev-central instances forget 5d0c5ed1a3b84f0f9c3c2c57dd6a2a11`,
    )
    .action((journal: string, _options: object, command: Command) => forget(journal, command, shell))
  return group
}

export function adoptCommand(shell: Shell): Command {
  return new Command('adopt')
    .description('Make rows of what is only in the journal of an instance that is gone: its data folder, found again.')
    .argument('<journal_dir>', 'its data folder, or the journal folder in it; it is written to')
    .addHelpText(
      'after',
      `
Each record becomes one row, also if some are rows already, and if it is done twice. Its service must not run. The trail gets
SYSTEM / JOURNAL_ADOPTED, and the folder is marked: no service starts on it any more.

Example:
  ev-central adopt /mnt/rescued/ev-central`,
    )
    .action((directory: string, _options: object, command: Command) => adopt(directory, command, shell))
}

async function list(options: { json?: boolean }, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const instances = await readInstances(urlOf(command, shell))
  if (options.json === true) {
    for (const { isStale, ...instance } of instances) {
      terminal.print(JSON.stringify({ ...instance, state: stateOf({ ...instance, isStale }) }))
    }
    return
  }
  printTable(
    terminal,
    [
      { title: 'journal', isElastic: true },
      { title: 'host' },
      { title: 'state' },
      { title: 'seen' },
      { title: 'waiting' },
    ],
    instances.map(instance => [
      instance.journal_id,
      instance.host,
      stateOf(instance),
      instance.seen_at.toISOString(),
      String(Math.max(0, instance.durable - instance.indexed)),
    ]),
  )
}

const stateOf = ({ state, isStale }: Instance) => (isStale ? 'missing' : state)

async function forget(journal: string, command: Command, shell: Shell): Promise<void> {
  const before = await forgetInstance(urlOf(command, shell), journal, shell.user)
  if (before === undefined)
    throw new UsageError('there is no instance with this journal; `ev-central instances list` shows them')
  const { state, indexed, durable } = before
  const isNews = state !== 'forgotten' && state !== 'adopted'
  const isMissing = state !== 'stopped' || indexed < durable
  const said = isMissing
    ? `declared: its journal may hold unindexed records after sequence ${indexed}`
    : 'forgotten: nothing of it is missing'
  shell.terminal.print(isNews ? said : `it is ${state} already`)
}

async function adopt(directory: string, command: Command, shell: Shell): Promise<void> {
  const url = urlOf(command, shell)
  const adopted = await adoptJournal({ url, directory, actor: shell.user, logger: silentLogger() })
  if (adopted === undefined) {
    throw new UsageError(
      `${directory} holds no journal of an instance that ever shared this database; nothing was changed`,
    )
  }
  const { records, journalId, folder } = adopted
  shell.terminal.print(
    `${counted(records, 'record')} of the journal ${journalId} became rows; ${folder.path} is not needed any more`,
  )
}

function urlOf(command: Command, shell: Shell): string {
  const { databaseUrl } = shell.settings(command)
  if (databaseUrl === undefined) throw new UsageError('EVC_DATABASE_URL is not set: without it there is one instance')
  return databaseUrl
}
