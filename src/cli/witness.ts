/** `witness`: says for other logs that each has one history. */
import { Command, InvalidArgumentError } from 'commander'
import { parseVerifierKey, SIGNATURE_TYPE, type VerifierKey } from '../evidence/note.ts'
import { LIMITS } from '../limits.ts'
import { wholeNumber } from './filters.ts'
import type { Shell } from './shell.ts'

export interface WitnessOptions {
  readonly data: string
  readonly log: readonly VerifierKey[]
  readonly name?: string
  readonly host: string
  readonly port: number
}

export function witnessCommand(shell: Shell): Command {
  return new Command('witness')
    .description('Run a witness (C2SP tlog-witness): it cosigns the checkpoints of logs, and no rollback and no fork.')
    .requiredOption(
      '--data <dir>',
      'folder of the witness, made at the first start; never put an older copy of it back',
    )
    .requiredOption('--log <key>', 'verifier key of a log to follow; once for each log', oneMoreLog)
    .option('--name <name>', 'of its key, best a host name and path (at the first start; otherwise made up)', keyName)
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <n>', 'port to listen on; 0 takes a free one', wholeNumber(0, 65_535), 8_090)
    .addHelpText(
      'after',
      `
Makes its key at the first start and prints the verifier key, which the log's operator puts into EVC_WITNESSES. Run it on
another machine, or have somebody else run it, on a local disk. Logs go to stderr, as JSON lines.

Example:
  ev-central witness --data /var/lib/witness --name witness.example/w1 --host 0.0.0.0 \\
    --log log.example/ev-central+0d33fbcd+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4`,
    )
    .action(async (options: WitnessOptions) => {
      // Loaded only here: the server's parts would make every other command start more slowly.
      const { runWitness } = await import('./witness-process.ts')
      await runWitness(options, shell.terminal)
    })
}

function oneMoreLog(text: string, known: readonly VerifierKey[] = []): VerifierKey[] {
  const key = parseVerifierKey(text)
  if (key?.type !== SIGNATURE_TYPE.ed25519) {
    throw new InvalidArgumentError('It is a verifier key of a log, of Ed25519: name+id+base64.')
  }
  if (known.some(({ name }) => name === key.name)) throw new InvalidArgumentError('The log is named twice.')
  if (known.length === LIMITS.witnessLogsMax) {
    throw new InvalidArgumentError(`A witness follows at most ${LIMITS.witnessLogsMax} logs.`)
  }
  return [...known, key]
}

/** As in the setting EVC_LOG_ORIGIN: what fits into a note, in ASCII. */
function keyName(text: string): string {
  if (!/^[\x21-\x2a\x2c-\x7e]+$/.test(text) || text.length > LIMITS.keyNameCharactersMax) {
    throw new InvalidArgumentError('It is 1 to 255 printable ASCII characters without spaces and +.')
  }
  return text
}
