/** The commands, put together, and how running one ends. */
import { Command } from 'commander'
import { escapeUnprintable } from '../audit/redaction.ts'
import { VERSION } from '../service/version.ts'
import { EXIT_CODES_HELP, type ExitCode, failureOf } from './outcome.ts'
import { createShell, type Environment, type Shell } from './shell.ts'
import type { Terminal } from './terminal.ts'

/** In the order of the help. Each is loaded when it is named: all of them take a quarter of a second. */
const COMMANDS: Readonly<Record<string, (shell: Shell) => Promise<Command>>> = {
  serve: async shell => (await import('./serve.ts')).serveCommand(shell),
  import: async shell => (await import('./import.ts')).importCommand(shell),
  query: async shell => (await import('./query.ts')).queryCommand(shell),
  tail: async shell => (await import('./tail.ts')).tailCommand(shell),
  monitor: async shell => (await import('./monitor.ts')).monitorCommand(shell),
  summary: async shell => (await import('./summary.ts')).summaryCommand(shell),
  cp: async shell => (await import('./charge-points.ts')).cpCommand(shell),
  admin: async shell => (await import('./admins.ts')).adminCommand(shell),
  backup: async shell => (await import('./backup.ts')).backupCommand(shell),
  restore: async shell => (await import('./restore.ts')).restoreCommand(shell),
  migrate: async shell => (await import('./migrate.ts')).migrateCommand(shell),
  instances: async shell => (await import('./instances.ts')).instancesCommand(shell),
  adopt: async shell => (await import('./instances.ts')).adoptCommand(shell),
  archive: async shell => (await import('./archive.ts')).archiveCommand(shell),
  erase: async shell => (await import('./erase.ts')).eraseCommand(shell),
  check: async shell => (await import('./check.ts')).checkCommand(shell),
  evidence: async shell => (await import('./evidence.ts')).evidenceCommand(shell),
  key: async shell => (await import('./keys.ts')).keyCommand(shell),
  mirror: async shell => (await import('./mirror.ts')).mirrorCommand(shell),
  witness: async shell => (await import('./witness.ts')).witnessCommand(shell),
  verify: async shell => (await import('./verify.ts')).verifyCommand(shell),
  demo: async shell => (await import('./demo.ts')).demoCommand(shell),
  bench: async shell => (await import('./bench.ts')).benchCommand(shell),
}

const HELP = ['help', '--help', '-h']

/** Runs one command line to its end and says what the process should exit with. Never rejects. */
export async function runCommandLine(
  argv: readonly string[],
  environment: Environment,
  terminal: Terminal,
): Promise<ExitCode> {
  const shell = createShell(terminal, environment)
  try {
    await (await createProgram(shell, argv)).parseAsync([...argv])
    return shell.exitCode
  } catch (error) {
    const { exitCode, message } = failureOf(error)
    terminal.progressDone()
    if (message !== '') terminal.note(printableLines(message))
    return exitCode
  }
}

async function createProgram(shell: Shell, argv: readonly string[]): Promise<Command> {
  const program = new Command('ev-central')
    .description('The security front door of an EV charging network, with an audit trail.')
    .version(VERSION)
    .option('--data-dir <dir>', 'data folder (otherwise the setting EVC_DATA_DIR)')
    .addHelpText(
      'after',
      '\nExample:\n  ev-central serve\n\nSettings are EVC_ variables of the environment: see docs/settings.md.',
    )
  for (const name of namedCommands(argv)) program.addCommand(await COMMANDS[name]!(shell))
  equip(program, shell.terminal)
  return program
}

/** Every command that any of the words names; all of them for the help, and for a word that may be one misspelled. */
function namedCommands(argv: readonly string[]): string[] {
  const all = Object.keys(COMMANDS)
  const named = all.filter(name => argv.includes(name))
  return named.length === 0 || HELP.some(word => argv.includes(word)) ? all : named
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
