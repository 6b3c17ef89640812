/**
 * The command line: the only folder that touches `process`.
 *
 * Promise: every command is a thin door. It turns words into one call of another stage, prints what came back, and ends
 * with an exit code of the error table. Owns no state. Must not decide anything about security, write the journal, or
 * print event data or secrets by any other way than event-text.ts and one explicit `print`.
 *
 * This file is the entry point: arguments and environment in, exit code out.
 */
import { runCommandLine } from './program.ts'
import { createTerminal } from './terminal.ts'

const terminal = createTerminal(process.stdout, process.stderr, process.env)
process.exitCode = await runCommandLine(process.argv, process.env, terminal)
