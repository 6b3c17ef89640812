/** What every command gets: the terminal, the settings with `--data-dir` applied, and a way to end. */
import { userInfo } from 'node:os'
import type { Command } from 'commander'
import { Refusal } from '../errors.ts'
import { type DataFolder, dataFolder, refuseMigrated } from '../service/data-folder.ts'
import { refuseHalfRestored } from '../service/restore.ts'
import { readSettings, type Settings } from '../settings/settings.ts'
import type { ExitCode } from './outcome.ts'
import type { Terminal } from './terminal.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface Shell {
  readonly terminal: Terminal
  readonly environment: Environment
  /** Who acts, as the audit trail names them: `cli:<user of the operating system>`. */
  readonly user: string
  /** What the process ends with if nothing fails; a command that found something sets it. */
  exitCode: ExitCode
  /** @throws {SettingsError} with every problem found. */
  settings(command: Command): Settings
  /**
   * The data folder with the embedded SQLite.
   * @throws {Refusal} NOT_WITH_POSTGRESQL: with EVC_DATABASE_URL there is a journal in it and nothing else; MIGRATION_REFUSED:
   * what was in it goes on in PostgreSQL; RESTORE_INCOMPLETE
   */
  folder(command: Command): DataFolder
}

export function createShell(terminal: Terminal, environment: Environment): Shell {
  const settings = (command: Command): Settings => {
    const { dataDir } = command.optsWithGlobals<{ dataDir?: string }>()
    return readSettings(dataDir === undefined ? environment : { ...environment, EVC_DATA_DIR: dataDir })
  }
  return {
    terminal,
    environment,
    user: `cli:${osUser(environment)}`,
    exitCode: 0,
    settings,
    folder(command) {
      const { databaseUrl, dataDir } = settings(command)
      if (databaseUrl === undefined) {
        const folder = dataFolder(dataDir)
        refuseMigrated(folder)
        refuseHalfRestored(folder)
        return folder
      }
      throw new Refusal(
        'NOT_WITH_POSTGRESQL',
        `This version does \`${nameOf(command)}\` with the embedded SQLite only, and EVC_DATABASE_URL is set. Nothing was changed.`,
      )
    },
  }
}

/** As it is typed. */
function nameOf(command: Command): string {
  const above = command.parent?.parent == null ? '' : `${nameOf(command.parent)} `
  return `${above}${command.name()}`
}

function osUser(environment: Environment): string {
  try {
    return userInfo().username
  } catch {
    return environment.USER ?? 'unknown' // in a container the user id may have no name
  }
}
