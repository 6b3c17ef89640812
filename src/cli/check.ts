/** `check`: reads everything in the data folder and says what does not agree. */
import { Command } from 'commander'
import { checkAll } from '../service/check-all.ts'
import { rebuildChunks } from '../store/check-store.ts'
import { EXIT } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import type { Shell } from './shell.ts'

interface Options {
  readonly rebuild?: boolean
  readonly json?: boolean
}

export function checkCommand(shell: Shell): Command {
  return new Command('check')
    .description('Read the whole trail and say what in it does not agree.')
    .option('--rebuild', 'first make what summaries and time ranges are answered from anew, of the rows')
    .option('--json', 'as one JSON object')
    .addHelpText(
      'after',
      `
Exit code 1 when something is wrong. Changes nothing, but for --rebuild.

Examples:
  ev-central check
  ev-central check --rebuild`,
    )
    .action((options: Options, command: Command) => check(options, command, shell))
}

function check(options: Options, command: Command, shell: Shell): void {
  const { terminal } = shell
  const folder = shell.folder(command)
  if (options.rebuild === true) rebuildChunks(folder.auditDatabase)
  const { problems } = checkAll({
    folder,
    onProgress: (done, total) => terminal.progress(progressBar('checking', done, total)),
  })
  terminal.progressDone()
  if (options.json === true) terminal.print(JSON.stringify({ problems }))
  else for (const problem of problems.length > 0 ? problems : ['everything agrees']) terminal.print(problem)
  if (problems.length > 0) shell.exitCode = EXIT.failed
}
