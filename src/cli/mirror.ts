/** `mirror`: the log as files that a web server shows and a stranger verifies. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { mirrorLog, mirrorPostgresLog } from '../checkpoint/mirror.ts'
import { counted } from '../counted.ts'
import type { DataFolder } from '../service/data-folder.ts'
import { UsageError } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import type { Shell } from './shell.ts'

export function mirrorCommand(shell: Shell): Command {
  return new Command('mirror')
    .description('Write the log, up to its newest checkpoint, as files in the layout of C2SP tlog-tiles.')
    .argument('<dir>', 'folder; made if it is not there, and brought up to date if it is')
    .addHelpText(
      'after',
      `
Holds no personal data: it may be shown to everybody. Works with the service running or stopped.

Examples:
  ev-central mirror /var/www/log
  ev-central verify /var/www/log`,
    )
    .action((directory: string, _options: object, command: Command) => mirror(directory, command, shell))
}

async function mirror(directory: string, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const { databaseUrl } = shell.settings(command)
  const to = resolve(directory)
  const onProgress = (done: number, total: number) => terminal.progress(progressBar('tiles', done, total))
  const mirroring =
    databaseUrl === undefined
      ? mirrorFolder(shell.folder(command), to, onProgress)
      : mirrorPostgresLog({ url: databaseUrl, to, onProgress })
  const { size, files } = await mirroring.finally(() => terminal.progressDone())
  terminal.print(`${counted(size, 'event')}, ${counted(files, 'file')} written`)
}

function mirrorFolder(
  { path, auditDatabase, log }: DataFolder,
  to: string,
  onProgress: (done: number, total: number) => void,
) {
  if (!existsSync(auditDatabase)) {
    throw new UsageError(`${path} holds no audit events yet; --data-dir or EVC_DATA_DIR names another data folder`)
  }
  return mirrorLog({ storePath: auditDatabase, log, to, onProgress })
}
