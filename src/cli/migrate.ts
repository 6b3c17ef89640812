/** `migrate`: the trail and the security state of a data folder go on in PostgreSQL; and the way back. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { counted } from '../counted.ts'
import { parsePostgresUrl } from '../postgres/postgres-url.ts'
import { type MigrateProgress, migrateBack, migrateToPostgres } from '../service/migrate.ts'
import { readSettings, type Settings } from '../settings/settings.ts'
import { UsageError } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import { silentLogger } from './security-door.ts'
import type { Shell } from './shell.ts'
import type { Terminal } from './terminal.ts'

interface Options {
  readonly from: string
  readonly to?: string
  readonly back?: boolean
}

export function migrateCommand(shell: Shell): Command {
  return new Command('migrate')
    .description('Move the trail and the security state of a data folder into an empty PostgreSQL.')
    .requiredOption('--from <sqlite:folder>', 'the data folder, which no service may run on')
    .option('--to <url>', 'postgres://..., as the owner of the tables (otherwise EVC_DATABASE_URL)')
    .option('--back', 'take it back, as long as nothing was recorded in the new place')
    .addHelpText(
      'after',
      `
Events, log, keys and state are copied, read back, and compared; instances start on the database only after that, and none on the folder
any more. The log goes on under the same origin and key: proofs and checkpoints given before stay valid. Whatever ends it,
run it again: it goes on where it was. A password is better given in EVC_DATABASE_URL than on the command line.

Examples:
  EVC_DATABASE_URL=postgres://evc_owner:...@db/evc ev-central migrate --from sqlite:/var/lib/ev-central
  ev-central migrate --from sqlite:/var/lib/ev-central --back`,
    )
    .action((options: Options) => migrate(options, shell))
}

async function migrate(options: Options, shell: Shell): Promise<void> {
  const { terminal } = shell
  const settings = settingsOf(options, shell)
  const url = targetOf(options, settings)
  if (options.back === true) {
    const { folder } = await migrateBack(settings, url)
    terminal.print(`taken back: a service may start on ${folder.path} again; the database can be dropped`)
    return
  }
  const done = await migrateToPostgres({
    settings,
    url,
    actor: shell.user,
    logger: silentLogger(),
    onProgress: progressOn(terminal),
  })
  terminal.progressDone()
  const { events, origin, folder, address } = done
  terminal.print(
    `${counted(events, 'event')} of ${origin} ${events === 1 ? 'goes' : 'go'} on in ${address}; the roots are equal`,
  )
  const keys = [folder.logKeys, join(folder.path, 'secrets')].filter(path => existsSync(path)).join(' and ')
  terminal.note(`next: EVC_DATABASE_URL, and a new EVC_DATA_DIR for each instance; ${folder.path} does not start any more
take along: ${keys} as your backup of the keys (the one that signs is in the database, wrapped
with the key-encryption key); EVC_KEY_ENCRYPTION_KEY and EVC_TOKEN_SECRET stay the same, if they were given`)
}

/** Those of the service that ran on the folder; what is for SQLite only, and would be refused beside a database, plays no part here. */
function settingsOf({ from }: Options, { environment }: Shell): Settings {
  const folder = /^sqlite:(.+)$/.exec(from)?.[1]
  if (folder === undefined) {
    throw new UsageError('--from must be sqlite: and the data folder, for example sqlite:/var/lib/ev-central')
  }
  const unused = { EVC_RETENTION_DAYS: undefined, EVC_POSITION_FILE: undefined }
  return readSettings({ ...environment, ...unused, EVC_DATA_DIR: folder })
}

function targetOf({ to }: Options, { databaseUrl }: Settings): string {
  if (to === undefined && databaseUrl === undefined) {
    throw new UsageError('--to or EVC_DATABASE_URL has to name the database')
  }
  if (to === undefined) return databaseUrl as string
  try {
    parsePostgresUrl(to)
    return to
  } catch (error) {
    throw new UsageError(`--to ${(error as Error).message}`)
  }
}

/** With the rate of the phase. */
function progressOn(terminal: Terminal): (progress: MigrateProgress) => void {
  let phase: string | undefined
  let began = { at: 0, done: 0 }
  return ({ phase: now, done, total }) => {
    if (now !== phase) began = { at: performance.now(), done }
    phase = now
    const seconds = (performance.now() - began.at) / 1000
    const rate = seconds > 0 ? Math.round((done - began.done) / seconds) : 0
    terminal.progress(`${progressBar(now, done, total)}  ${done} of ${total}, ${rate} a second`)
  }
}
