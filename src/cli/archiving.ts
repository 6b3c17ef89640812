/** The trail of the settings as archiving needs it: where it is, the folder for its archives, and what is on record of them. */
import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { readKnownArchives, viewTrail } from '../archive/trail.ts'
import { archiveFolder, dataFolder, storeOf } from '../service/data-folder.ts'
import { prepareSharedAt } from '../service/shared-database.ts'
import type { StoreLocation } from '../store/location.ts'
import type { ArchiveRecord } from '../store/retention.ts'
import type { Shell } from './shell.ts'
import { type Reading, recordAccess, recordSharedAccess, requireEvents } from './trail.ts'

export interface Archiving {
  readonly store: StoreLocation
  /** Where archives go to unless told otherwise: `archive` in the data folder. */
  readonly directory: string
  /** @throws {UsageError} there are no events yet. @throws {Refusal} MIGRATION_REFUSED */
  prepare(): Promise<void>
  /** None where there is no database yet. */
  known(): Promise<readonly ArchiveRecord[]>
  /** Sentences: events that are neither there nor in an archive on record. */
  gaps(): Promise<readonly string[]>
  /** That somebody reads archives is an ACCESS event. */
  record(commandName: string, reading: Reading): Promise<void>
}

/** @throws {Refusal} MIGRATION_REFUSED: what was in the data folder goes on in PostgreSQL */
export function archivingOf(shell: Shell, command: Command): Archiving {
  const { databaseUrl, dataDir } = shell.settings(command)
  const folder = databaseUrl === undefined ? shell.folder(command) : dataFolder(dataDir)
  const store = storeOf(folder, databaseUrl)
  const isThere = () => databaseUrl !== undefined || existsSync(folder.auditDatabase)
  return {
    store,
    directory: archiveFolder(folder),
    async prepare() {
      if (databaseUrl === undefined) requireEvents(folder)
      else await prepareSharedAt(databaseUrl)
    },
    known: async () => (isThere() ? readKnownArchives(store) : []),
    async gaps() {
      if (!isThere()) return []
      await using trail = await viewTrail(store)
      return await trail.gaps()
    },
    record: (commandName, reading) =>
      databaseUrl === undefined
        ? recordAccess(shell, folder, commandName, reading)
        : recordSharedAccess(shell, databaseUrl, commandName, reading),
  }
}
