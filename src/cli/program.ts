/** The commands, put together, and how running one ends. */
import { Command } from 'commander'
import { escapeUnprintable } from '../audit/redaction.ts'
import { VERSION } from '../service/version.ts'
import { adminCommand } from './admins.ts'
import { archiveCommand } from './archive.ts'
import { backupCommand } from './backup.ts'
import { benchCommand } from './bench.ts'
import { cpCommand } from './charge-points.ts'
import { checkCommand } from './check.ts'
import { demoCommand } from './demo.ts'
import { eraseCommand } from './erase.ts'
import { evidenceCommand } from './evidence.ts'
import { importCommand } from './import.ts'
import { adoptCommand, instancesCommand } from './instances.ts'
import { keyCommand } from './keys.ts'
import { migrateCommand } from './migrate.ts'
import { mirrorCommand } from './mirror.ts'
import { monitorCommand } from './monitor.ts'
import { EXIT_CODES_HELP, type ExitCode, failureOf } from './outcome.ts'
import { queryCommand } from './query.ts'
import { restoreCommand } from './restore.ts'
import { serveCommand } from './serve.ts'
import { createShell, type Environment, type Shell } from './shell.ts'
import { summaryCommand } from './summary.ts'
import { tailCommand } from './tail.ts'
import type { Terminal } from './terminal.ts'
import { verifyCommand } from './verify.ts'
import { witnessCommand } from './witness.ts'

/** Runs one command line to its end and says what the process should exit with. Never rejects. */
export async function runCommandLine(
  argv: readonly string[],
  environment: Environment,
  terminal: Terminal,
): Promise<ExitCode> {
  const shell = createShell(terminal, environment)
  try {
    await createProgram(shell).parseAsync([...argv])
    return shell.exitCode
  } catch (error) {
    const { exitCode, message } = failureOf(error)
    terminal.progressDone()
    if (message !== '') terminal.note(printableLines(message))
    return exitCode
  }
}

function createProgram(shell: Shell): Command {
  const program = new Command('ev-central')
    .description('The security front door of an EV charging network, with an audit trail.')
    .version(VERSION)
    .option('--data-dir <dir>', 'data folder (otherwise the setting EVC_DATA_DIR)')
    .addCommand(serveCommand(shell))
    .addCommand(importCommand(shell))
    .addCommand(queryCommand(shell))
    .addCommand(tailCommand(shell))
    .addCommand(monitorCommand(shell))
    .addCommand(summaryCommand(shell))
    .addCommand(cpCommand(shell))
    .addCommand(adminCommand(shell))
    .addCommand(backupCommand(shell))
    .addCommand(restoreCommand(shell))
    .addCommand(migrateCommand(shell))
    .addCommand(instancesCommand(shell))
    .addCommand(adoptCommand(shell))
    .addCommand(archiveCommand(shell))
    .addCommand(eraseCommand(shell))
    .addCommand(checkCommand(shell))
    .addCommand(evidenceCommand(shell))
    .addCommand(keyCommand(shell))
    .addCommand(mirrorCommand(shell))
    .addCommand(witnessCommand(shell))
    .addCommand(verifyCommand(shell))
    .addCommand(demoCommand(shell))
    .addCommand(benchCommand(shell))
    .addHelpText(
      'after',
      '\nExample:\n  ev-central serve\n\nSettings are EVC_ variables of the environment: see docs/settings.md.',
    )
  equip(program, shell.terminal)
  return program
}

/** What every command has, however deep: errors as exceptions, exit codes in the help, nothing unprintable echoed. */
function equip(command: Command, terminal: Terminal): void {
  command
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError('(--help shows the options and an example)')
    .configureOutput({
      writeOut: text => terminal.print(text.trimEnd()),
      writeErr: text => terminal.note(printableLines(text.trimEnd())),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText('after', `\n${EXIT_CODES_HELP}`)
  for (const child of command.commands) equip(child, terminal)
}

function printableLines(text: string): string {
  return text.split('\n').map(escapeUnprintable).join('\n')
}
