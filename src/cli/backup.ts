/** `backup`: a consistent copy of the data folder, while the service runs or not. */
import { existsSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { Command } from 'commander'
import { system } from '../audit/events.ts'
import { safeText } from '../audit/redaction.ts'
import { createContext } from '../context/context.ts'
import { counted } from '../counted.ts'
import { LIMITS } from '../limits.ts'
import { backUp } from '../service/backup.ts'
import type { Manifest } from '../service/backup-manifest.ts'
import type { DataFolder } from '../service/data-folder.ts'
import { putOnRecord } from '../service/put-on-record.ts'
import { UsageError } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import type { Shell } from './shell.ts'

interface Options {
  readonly withSecrets?: boolean
  readonly json?: boolean
}

export function backupCommand(shell: Shell): Command {
  return new Command('backup')
    .description('Copy the data folder into a new folder, consistently, with the service running or stopped.')
    .argument('<folder>', 'made with mode 0700; may exist if it is empty')
    .option('--with-secrets', 'the generated secrets too (development; settings are never in a backup)')
    .option('--json', 'the manifest, as one JSON object')
    .addHelpText(
      'after',
      `
Without --with-secrets whoever finds the backup cannot open the charge points' keys with it; and it cannot be
restored without the key-encryption key, so keep that elsewhere. A folder without manifest.json is no backup.
The trail gets a SYSTEM event, BACKED_UP.

Examples:
  ev-central backup /mnt/backup/2026-07-01
  ev-central restore /mnt/backup/2026-07-01 --check`,
    )
    .action((directory: string, options: Options, command: Command) => backup(directory, options, command, shell))
}

async function backup(directory: string, options: Options, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const folder = shell.folder(command)
  refuseUnsuitable(folder, directory)
  const manifest = await backUp({
    folder,
    directory,
    withSecrets: options.withSecrets === true,
    onProgress: ({ phase, done, total }) => terminal.progress(progressBar(phase, done, total)),
  })
  terminal.progressDone()
  await record(folder, directory, manifest, shell)
  if (existsSync(join(folder.path, 'secrets')) && !manifest.has_secrets) {
    terminal.note('the generated secrets are not in it: it can only be restored where they are; see --with-secrets')
  }
  terminal.print(options.json === true ? JSON.stringify(manifest) : describe(manifest))
}

function refuseUnsuitable(folder: DataFolder, directory: string): void {
  if (![folder.auditDatabase, folder.securityDatabase, folder.journalDirectory].some(path => existsSync(path))) {
    throw new UsageError(`${folder.path} holds nothing to back up; --data-dir names another data folder`)
  }
  const path = relative(folder.path, resolve(directory))
  if (path === '' || !path.startsWith('..')) throw new UsageError('the backup must not lie in the data folder')
}

/** Crash before: a whole backup that the trail does not know of. */
async function record(folder: DataFolder, directory: string, manifest: Manifest, shell: Shell): Promise<void> {
  if (!existsSync(folder.securityDatabase)) return
  const { files: _files, ...positions } = manifest
  const description = `Backed up by ${shell.user}, through event ${manifest.last_event_id} and journal record ${manifest.sequence}`
  const where = safeText(resolve(directory), LIMITS.metadataStringCharactersMax)
  const metadata = { folder: where, ...positions, actor: shell.user }
  try {
    await putOnRecord(folder, system('BACKED_UP', createContext(), { description, metadata }))
  } catch {
    shell.terminal.note('the backup is whole, but could not be put on record: the security database cannot be written')
  }
}

export function describe({ files, sequence, indexed_sequence, last_event_id, created_at }: Manifest): string {
  const mebibytes = (files.reduce((sum, { bytes }) => sum + bytes, 0) / 1_048_576).toFixed(1)
  const waiting = sequence - indexed_sequence
  const extent = `${counted(last_event_id, 'event')} and ${counted(waiting, 'journal record')} behind them`
  return `backup of ${created_at}: ${extent}, ${counted(files.length, 'file')}, ${mebibytes} MiB`
}
