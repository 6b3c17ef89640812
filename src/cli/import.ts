/** `import`: the events of a reference implementation's database, into the audit trail of the data folder. */
import { statSync } from 'node:fs'
import { basename } from 'node:path'
import { Command } from 'commander'
import { system } from '../audit/events.ts'
import { escapeUnprintable, foreignRedaction } from '../audit/redaction.ts'
import { createContext } from '../context/context.ts'
import { counted } from '../counted.ts'
import { putOnRecord } from '../service/put-on-record.ts'
import { type ImportProgress, importReferenceDatabase } from '../store/import.ts'
import { createSqliteEventStore } from '../store/sqlite-event-store.ts'
import { UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'
import type { Terminal } from './terminal.ts'

export function importCommand(shell: Shell): Command {
  return new Command('import')
    .description('Import the audit events of a database of the reference implementation (its audit_events table).')
    .argument('<file>', 'SQLite database; it is only read')
    .addHelpText(
      'after',
      `
Works with the server running or stopped. Running it again adds only what is new. A broken or foreign file is refused
and nothing is written.

Example:
  ev-central import ev_charging.db`,
    )
    .action((file: string, _options: object, command: Command) => importFile(file, command, shell))
}

async function importFile(file: string, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const folder = shell.folder(command)
  if (statSync(file, { throwIfNoEntry: false }) === undefined) throw new UsageError(`there is no file ${file}`)
  const store = createSqliteEventStore({ path: folder.auditDatabase })
  try {
    const result = await importReferenceDatabase({
      file,
      store,
      redaction: foreignRedaction,
      onProgress: progressOn(terminal),
    })
    terminal.progressDone()
    // Crash here: the events are there and their import is not on record; running it again reports "already there".
    if (result.imported > 0) {
      const name = escapeUnprintable(basename(file))
      const description = `${counted(result.imported, 'event')} imported from ${name} by ${shell.user}`
      const metadata = { file: name, ...result, actor: shell.user }
      await putOnRecord(folder, system('IMPORTED', createContext(), { description, metadata }))
    }
    if (result.redacted > 0) terminal.note(`secrets were replaced in ${counted(result.redacted, 'event')} of the file`)
    terminal.print(
      `${counted(result.total, 'event')} read, ${result.imported} imported, ${result.skipped} already there`,
    )
  } finally {
    await store.close()
  }
}

const BAR_CHARACTERS = 30

function progressOn(terminal: Terminal): (progress: ImportProgress) => void {
  return ({ phase, done, total }) => {
    const share = total === 0 ? 1 : done / total
    const full = Math.round(share * BAR_CHARACTERS)
    const bar = '#'.repeat(full).padEnd(BAR_CHARACTERS, '.')
    terminal.progress(`${phase.padEnd(9)} [${bar}] ${Math.floor(share * 100)}%  ${done} of ${total}`)
  }
}
