/** `restore`: a backup into an empty folder, the check of one, or going on with a data folder that is older than it was. */
import { existsSync } from 'node:fs'
import { Command } from 'commander'
import { counted } from '../counted.ts'
import { whileStopped } from '../service/data-folder.ts'
import { declareJournalGap } from '../service/journal-gap.ts'
import { acceptPosition } from '../service/position-guard.ts'
import { checkBackup, type RestoreProgress, restoreBackup } from '../service/restore.ts'
import { describe } from './backup.ts'
import { UsageError } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import type { Shell } from './shell.ts'

interface Options {
  readonly to?: string
  readonly check?: boolean
  readonly accept?: boolean
}

export function restoreCommand(shell: Shell): Command {
  return new Command('restore')
    .description('Make a data folder of a backup.')
    .argument('[backup]', 'folder that "ev-central backup" made')
    .option('--to <folder>', 'the data folder to be; it has to be empty or not there')
    .option('--check', 'only read the backup and compare every digest')
    .option('--accept', 'go on with a data folder that is older than it was; the service has to be stopped')
    .addHelpText(
      'after',
      `
The next start on the restored folder puts SYSTEM / RESTORED into the trail. If EVC_POSITION_FILE is set, that start is
refused with what is missing (ROLLED_BACK), until --accept puts it on record. --accept also declares journal records lost
that an older audit.db lacks and the journal does not have any more.

Examples:
  ev-central restore /mnt/backup/2026-07-01 --to /var/lib/ev-central
  ev-central restore --accept`,
    )
    .action((backup: string | undefined, options: Options, command: Command) =>
      restore(backup, options, command, shell),
    )
}

async function restore(backup: string | undefined, options: Options, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const { to, check, accept } = options
  if ([to !== undefined, check, accept].filter(Boolean).length !== 1) {
    throw new UsageError('one of --to, --check and --accept is needed')
  }
  if ((backup === undefined) !== (accept === true)) {
    throw new UsageError(accept ? '--accept takes no backup' : 'name the folder of the backup')
  }
  if (backup === undefined) return await goOn(command, shell)
  const onProgress = ({ phase, done, total }: RestoreProgress) => terminal.progress(progressBar(phase, done, total))
  const manifest =
    to === undefined
      ? await checkBackup(backup, onProgress)
      : await restoreBackup({ directory: backup, to, actor: shell.user, onProgress })
  terminal.progressDone()
  terminal.print(`${to === undefined ? 'complete and unchanged' : 'restored'}: ${describe(manifest)}`)
  if (to !== undefined && !manifest.has_secrets) {
    terminal.note('start it with the EVC_KEY_ENCRYPTION_KEY of the service that was backed up')
  }
}

async function goOn(command: Command, shell: Shell): Promise<void> {
  const folder = shell.folder(command)
  const { positionFile } = shell.settings(command)
  if (!existsSync(folder.path)) throw new UsageError(`there is no folder ${folder.path}`)
  const { missing, lost } = await whileStopped(folder, async () => ({
    missing: await acceptPosition({ folder, file: positionFile, actor: shell.user }),
    lost: await declareJournalGap(folder, shell.user),
  }))
  for (const what of missing ?? []) shell.terminal.print(`accepted: ${what}`)
  if (lost > 0) shell.terminal.print(`declared lost: ${counted(lost, 'journal record')}`)
  if (missing === undefined && lost === 0) shell.terminal.print('nothing is missing, nothing was changed')
}
