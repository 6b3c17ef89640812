/** `erase`: whatever the trail holds of a charge point, a former admin or an address is overwritten. */
import { existsSync } from 'node:fs'
import { Command } from 'commander'
import { planErasure } from '../erasure/erase.ts'
import { Refusal } from '../errors.ts'
import { ACCESS } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import { eraseOffline } from '../service/erase-offline.ts'
import { erasurePaths } from '../service/erasure.ts'
import type { Subject } from '../store/subject.ts'
import { freeText, parseAddress } from './filters.ts'
import { UsageError } from './outcome.ts'
import { silentLogger } from './security-door.ts'
import type { Shell } from './shell.ts'
import { recordAccess } from './trail.ts'

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
POST /audit/erasures. Not reached: backups, copies of exports, archives that were moved away (docs/erasure.md).

Examples:
  ev-central erase --who CP-001 --dry-run
  ev-central erase --who CP-001 --reason "request 2026-118" --yes`,
    )
    .action((options: Options, command: Command) => runErase(options, command, shell))
}

async function runErase(options: Options, command: Command, shell: Shell): Promise<void> {
  const subject = subjectOf(options)
  const folder = shell.folder(command)
  if (!existsSync(folder.auditDatabase)) {
    throw new UsageError(
      `${folder.path} holds no audit events yet; --data-dir or EVC_DATA_DIR names another data folder`,
    )
  }
  if (options.dryRun === true) {
    // Without the subject: what says that it was looked for would have to be erased, too.
    await recordAccess(shell, folder, 'erase --dry-run', { access: ACCESS.READ, filter: {} })
    const { rows, refusal } = await planErasure(erasurePaths(folder), subject)
    if (options.json !== true) shell.terminal.print(`${rows} events hold the subject`)
    else shell.terminal.print(JSON.stringify({ events: rows, refused: refusal?.code ?? null }))
    if (refusal !== undefined) throw refusal
    return
  }
  const { reason, yes } = options
  if (reason === undefined) throw new UsageError('--reason is needed')
  if (yes !== true) throw new UsageError('what is erased cannot be brought back: --yes says that it is meant')
  const done = await eraseOffline(shell.settings(command), silentLogger(), {
    subject,
    reason,
    actor: shell.user,
  }).catch(error => {
    if (!(error instanceof Refusal) || error.code !== 'DATA_FOLDER_IN_USE') throw error
    throw new Refusal('DATA_FOLDER_IN_USE', 'A service runs on this data folder: ask it, by POST /audit/erasures.')
  })
  const { erased, eventId, archivesMissing } = done
  if (options.json === true) {
    shell.terminal.print(JSON.stringify({ erased, event_id: eventId, archives_missing: archivesMissing }))
    return
  }
  if (eventId === null) shell.terminal.print('no event holds the subject')
  else shell.terminal.print(`${erased} events were erased; event ${eventId} says so`)
  if (archivesMissing.length > 0) {
    shell.terminal.note(
      `archives that are not where they were written to were not looked into: ${archivesMissing.join(', ')}`,
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
