/** `erase`: whatever the trail holds of a charge point, a former admin or an address is overwritten. */
import { Command } from 'commander'
import { counted } from '../counted.ts'
import { planErasure } from '../erasure/erase.ts'
import type { Erased, ErasurePlan, ErasureRequest } from '../erasure/request.ts'
import { Refusal } from '../errors.ts'
import { ACCESS } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import { archiveFolder, dataFolder } from '../service/data-folder.ts'
import { eraseOffline } from '../service/erase-offline.ts'
import { erasurePaths } from '../service/erasure.ts'
import { createSharedErasures } from '../service/shared-erasure.ts'
import type { Subject } from '../store/subject.ts'
import { freeText, parseAddress } from './filters.ts'
import { UsageError } from './outcome.ts'
import { silentLogger } from './security-door.ts'
import type { Shell } from './shell.ts'
import { recordAccess, recordSharedAccess, requireEvents } from './trail.ts'

interface Options {
  readonly who?: string
  readonly ip?: string
  readonly reason?: string
  readonly dryRun?: boolean
  readonly yes?: boolean
  readonly json?: boolean
}

export function eraseCommand(shell: Shell): Command {
  return new Command('erase')
    .description('Overwrite whatever the trail holds of a charge point, a former admin or an address.')
    .option('--who <name>', 'charge point or former admin', freeText(LIMITS.whoCharactersMax))
    .option('--ip <address>', 'client address', parseAddress)
    .option('--reason <text>', 'for the trail; must not name the subject', freeText(LIMITS.reasonCharactersMax))
    .option('--dry-run', 'only say how many events it would be, with the service running or stopped')
    .option('--yes', 'needed, as it cannot be undone')
    .option('--json', 'as one JSON object')
    .addHelpText(
      'after',
      `
Blanks every event that holds the subject as a word, also in archives, destroys its salt, and overwrites what is left in files.
The trail gets a SYSTEM event, ERASED. Proofs given before stay valid. For a stopped service; a running one is asked to do it by
POST /audit/erasures. With EVC_DATABASE_URL, beside running instances or without. Not reached: backups, copies of exports, archives that were moved away (docs/erasure.md).

Examples:
  ev-central erase --who CP-001 --dry-run
  ev-central erase --who CP-001 --reason "request 2026-118" --yes`,
    )
    .action((options: Options, command: Command) => runErase(options, command, shell))
}

async function runErase(options: Options, command: Command, shell: Shell): Promise<void> {
  const subject = subjectOf(options)
  await using trail = openTrail(shell, command)
  if (options.dryRun === true) {
    const { rows, refusal } = await trail.plan(subject)
    if (options.json !== true) shell.terminal.print(counted(rows, 'event holds the subject', 'events hold the subject'))
    else shell.terminal.print(JSON.stringify({ events: rows, refused: refusal?.code ?? null }))
    if (refusal !== undefined) throw refusal
    return
  }
  const { reason, yes } = options
  if (reason === undefined) throw new UsageError('--reason is needed')
  if (yes !== true) throw new UsageError('what is erased cannot be brought back: --yes says that it is meant')
  print(await trail.erase({ subject, reason, actor: shell.user }), options, shell)
}

interface ErasableTrail extends AsyncDisposable {
  /** That somebody looked is on record. */
  plan(subject: Subject): Promise<ErasurePlan>
  erase(request: ErasureRequest): Promise<Erased>
}

/** Without the subject: what says that it was looked for would have to be erased, too. */
const LOOKED = { access: ACCESS.READ, filter: {} } as const
const DRY_RUN = 'erase --dry-run'

/** @throws {UsageError} */
function openTrail(shell: Shell, command: Command): ErasableTrail {
  const settings = shell.settings(command)
  const { databaseUrl: url } = settings
  if (url !== undefined) {
    const erasures = createSharedErasures({
      url,
      archives: archiveFolder(dataFolder(settings.dataDir)),
      logger: silentLogger(),
    })
    return {
      async plan(subject) {
        await recordSharedAccess(shell, url, DRY_RUN, LOOKED)
        return erasures.plan(subject)
      },
      erase: erasures.erase,
      [Symbol.asyncDispose]: () => erasures[Symbol.asyncDispose](),
    }
  }
  const folder = shell.folder(command)
  requireEvents(folder)
  return {
    async plan(subject) {
      await recordAccess(shell, folder, DRY_RUN, LOOKED)
      return planErasure(erasurePaths(folder), subject)
    },
    erase: request =>
      eraseOffline(settings, silentLogger(), request).catch(error => {
        if (!(error instanceof Refusal) || error.code !== 'DATA_FOLDER_IN_USE') throw error
        throw new Refusal('DATA_FOLDER_IN_USE', 'A service runs on this data folder: ask it, by POST /audit/erasures.')
      }),
    async [Symbol.asyncDispose]() {},
  }
}

function print({ erased, eventId, archivesMissing, journalsBehind }: Erased, options: Options, shell: Shell): void {
  const { terminal } = shell
  if (options.json === true) {
    const missing = { archives_missing: archivesMissing, journals_behind: journalsBehind }
    terminal.print(JSON.stringify({ erased, event_id: eventId, ...missing }))
    return
  }
  if (eventId === null) terminal.print('no event holds the subject')
  else terminal.print(`${counted(erased, 'event was erased', 'events were erased')}; event ${eventId} says so`)
  if (archivesMissing.length > 0) {
    terminal.note(
      `archives that are not where they were written to were not looked into: ${archivesMissing.join(', ')}`,
    )
  }
  if (journalsBehind.length > 0) {
    terminal.note(
      `instances are away: when they return they clear their journals; ask again then, for what these hand over: ${journalsBehind.join(', ')}`,
    )
  }
}

/** @throws {UsageError} */
function subjectOf({ who, ip }: Options): Subject {
  if (who !== undefined && ip !== undefined) throw new UsageError('--who and --ip exclude each other')
  if (who !== undefined) return { kind: 'who', name: who }
  if (ip !== undefined) return { kind: 'ip', name: ip }
  throw new UsageError('one of --who and --ip is needed')
}
