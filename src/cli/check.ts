/** `check`: reads everything in the data folder and says what does not agree. */
import { existsSync } from 'node:fs'
import { Command } from 'commander'
import { escapeUnprintable } from '../audit/redaction.ts'
import { counted } from '../counted.ts'
import { checkAll, type Report } from '../service/check-all.ts'
import { whileStopped } from '../service/data-folder.ts'
import { rebuildChunks } from '../store/check-store.ts'
import { EXIT, UsageError } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import type { Shell } from './shell.ts'

interface Options {
  readonly rebuild?: boolean
  readonly json?: boolean
}

/** Of declared losses. */
const LOSSES_SHOWN = 20

export function checkCommand(shell: Shell): Command {
  return new Command('check')
    .description('Read the whole trail and say what in it does not agree.')
    .option('--rebuild', 'first make what summaries and time ranges are answered from anew, of the rows')
    .option('--json', 'as one JSON object')
    .addHelpText(
      'after',
      `
Compares the rows with the journal, and what summaries are answered from with the rows. Works with the service running
or stopped. Exit code 1 when something is wrong. Changes nothing, but for --rebuild, which needs the service stopped.

Examples:
  ev-central check
  ev-central check --rebuild`,
    )
    .action((options: Options, command: Command) => check(options, command, shell))
}

async function check(options: Options, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const folder = shell.folder(command)
  if (![folder.auditDatabase, folder.securityDatabase, folder.journalDirectory].some(path => existsSync(path))) {
    throw new UsageError(`${folder.path} holds nothing to check; --data-dir names another data folder`)
  }
  if (options.rebuild === true && existsSync(folder.auditDatabase)) {
    await whileStopped(folder, () => rebuildChunks(folder.auditDatabase))
  }
  const report = checkAll({
    folder,
    onProgress: ({ phase, done, total }) => terminal.progress(progressBar(phase, done, total)),
  })
  terminal.progressDone()
  if (options.json === true) terminal.print(JSON.stringify(report))
  else for (const line of describe(report)) terminal.print(line)
  if (report.problems.length > 0) shell.exitCode = EXIT.failed
}

function* describe({ problems, notes, losses, counts }: Report): Generator<string> {
  for (const problem of problems) yield `wrong: ${escapeUnprintable(problem)}`
  for (const note of notes) yield `note: ${escapeUnprintable(note)}`
  for (const { id, description } of losses.slice(0, LOSSES_SHOWN)) {
    yield `declared loss, event ${id}: ${escapeUnprintable(description)}`
  }
  if (losses.length > LOSSES_SHOWN) yield `and ${losses.length - LOSSES_SHOWN} more declared losses; --json has all`
  const extent = `${counted(counts.rows, 'event')} and ${counted(counts.waiting_records, 'journal record')} behind them`
  yield problems.length === 0 ? `everything agrees: ${extent}` : `${counted(problems.length, 'problem')} in ${extent}`
}
