/** `verify`: decides whether a data folder, a PostgreSQL, a mirror, a folder of archives or an evidence pack is what was signed. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { escapeUnprintable } from '../audit/redaction.ts'
import { counted } from '../counted.ts'
import { ACCESS } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import { isPostgresUrl, parsePostgresUrl } from '../postgres/postgres-url.ts'
import { kindOf, parseVerifierKey, type Report, sentenceOf, type Trust, VERDICTS, verifyPath } from '../verify/index.ts'
import { wholeNumber } from './filters.ts'
import { UsageError } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import type { Shell } from './shell.ts'
import type { Terminal } from './terminal.ts'
import { recordAccess, recordSharedAccess } from './trail.ts'

interface Options {
  readonly key?: string
  readonly trusted?: string
  readonly witness: readonly string[]
  readonly quorum?: number
  readonly tiles?: string
  readonly workers: number
  readonly json?: boolean
}

const FINDINGS_SHOWN = 20
const WORKERS_DEFAULT = Math.min(4, availableParallelism())

export function verifyCommand(shell: Shell): Command {
  return new Command('verify')
    .description('Decide, with no help of the service, whether a trail is what was signed.')
    .argument(
      '[path]',
      'data folder, URL of a PostgreSQL, mirror of the tiles, folder of archives, or evidence pack (otherwise what the settings name)',
    )
    .option('--key <key>', 'verifier key of the log, or a file with it; otherwise the one in the folder is believed')
    .option('--trusted <file>', 'a signed checkpoint from before, which the log must still lead to')
    .option('--witness <key>', 'verifier key of a witness, or a file with it; repeatable', collect, [])
    .option(
      '--quorum <k>',
      'how many of the witnesses must have signed (otherwise all)',
      wholeNumber(1, LIMITS.noteSignaturesMax),
    )
    .option(
      '--tiles <path>',
      'for archives: the mirror or data folder of the log that they left; without it, they are verified by their own proofs',
    )
    .option('--workers <n>', 'threads that hash', wholeNumber(1, LIMITS.verifyWorkersMax), WORKERS_DEFAULT)
    .option('--json', 'as one JSON object')
    .addHelpText('after', HELP)
    .action((path: string | undefined, options: Options, command: Command) => verify(path, options, command, shell))
}

const HELP = `
Every row is compared with its leaf, every leaf with the tree, the tree with every signed checkpoint, and what was erased or
archived with the events that say so. Works while the service runs, and on a copy. Of an evidence pack, the zip or the folder
that it was unpacked into, every event is compared with the signed checkpoint. The first finding is the exit code:
${Object.entries(VERDICTS)
  .map(([code, { exit }]) => `  ${String(exit).padEnd(3)}${code}`)
  .join('\n')}

The data folder or PostgreSQL of the settings gets an ACCESS event that says who verified it; what is given as a path or URL is
not written to. Of a PostgreSQL a role that may read is enough. A URL on the command line is seen by who lists processes: its
password is better in PGPASSWORD, or all of it in EVC_DATABASE_URL.

Examples:
  ev-central verify
  ev-central verify /mnt/copy --key log.pub --trusted checkpoint-from-june
  ev-central verify postgres://auditor@db.example/evc?sslmode=verify-full --key log.pub
  ev-central verify /mnt/mirror --witness witness.pub
  ev-central verify /mnt/archive --tiles /mnt/mirror
  ev-central verify pack.zip --key log.pub`

function collect(value: string, before: readonly string[]): readonly string[] {
  return [...before, value]
}

async function verify(given: string | undefined, options: Options, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const path = trailOf(given, command, shell)
  const kind = kindOf(path)
  if (kind === undefined)
    throw new UsageError(`${path} is no data folder, no mirror, no folder of archives and no evidence pack`)
  if (kind === 'evidence pack' && command.getOptionValueSource('workers') === 'cli')
    throw new UsageError('--workers does not go with an evidence pack, which one thread verifies')
  const tiles = options.tiles === undefined ? undefined : resolve(options.tiles)
  if (tiles !== undefined && kind !== 'archive') throw new UsageError('--tiles goes with a folder of archives')
  if (tiles !== undefined && !['data folder', 'mirror'].includes(String(kindOf(tiles)))) {
    throw new UsageError(`${tiles} is no data folder and no mirror`)
  }
  const report = await verifyPath(path, readTrust(options), {
    tiles,
    workers: options.workers,
    onProgress: showProgress(terminal),
  }).finally(() => terminal.progressDone())
  shell.exitCode = report.exit
  if (options.json === true) terminal.print(escapeUnprintable(JSON.stringify(report)))
  else printReport(report, terminal)
  if (given !== undefined) return
  const { verdict, size } = report
  const reading = { access: ACCESS.VERIFY, filter: { verdict, size } } as const
  if (kind === 'PostgreSQL') {
    // Where there is no log, none is begun.
    if (size > 0) await recordSharedAccess(shell, path, 'verify', reading)
  } else await recordAccess(shell, shell.folder(command), 'verify', reading)
}

/** Path or URL. What is no URL of a PostgreSQL is not shown, as there may be a password in it. */
function trailOf(given: string | undefined, command: Command, shell: Shell): string {
  const what = given ?? shell.settings(command).databaseUrl ?? shell.folder(command).path
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(what)) return resolve(what)
  if (!isPostgresUrl(what)) throw new UsageError('of URLs, only those of a PostgreSQL can be verified: postgres://...')
  try {
    parsePostgresUrl(what)
    return what
  } catch (error) {
    throw new UsageError(`the URL ${(error as Error).message}`)
  }
}

function readTrust({ key, trusted, witness, quorum }: Options): Trust {
  const witnesses = witness.map(readKey)
  const names = new Set(witnesses.map(text => parseVerifierKey(text.trim())?.name))
  if (quorum !== undefined && quorum > names.size) throw new UsageError('--quorum is more than there are witnesses')
  return {
    key: key === undefined ? undefined : readKeys(key),
    trusted: trusted === undefined ? undefined : readSmall(trusted),
    witnesses,
    quorum,
  }
}

/** A verifier key has two plus signs; a name of a file may have, but then the file is there. */
function readKey(given: string): string {
  const text = readKeys(given)
  if (text.includes('\n')) throw new UsageError('a witness has one key')
  return text
}

/** As `key show` prints them: a line for each key that signs. */
function readKeys(given: string): string {
  const text = existsSync(given) ? readSmall(given).trim() : given
  if (!text.split('\n').every(line => parseVerifierKey(line.trim()) !== undefined))
    throw new UsageError('a key is `<name>+<id>+<base64>`, or a file with such lines')
  return text
}

function readSmall(file: string): string {
  const found = statSync(file, { throwIfNoEntry: false })
  if (found === undefined) throw new UsageError(`there is no file ${file}`)
  if (!found.isFile() || found.size > LIMITS.noteCharactersMax) throw new UsageError(`${file} is no file of this kind`)
  return readFileSync(file, 'utf8')
}

function showProgress(terminal: Terminal): (done: number, total: number) => void {
  const started = performance.now()
  return (done, total) => {
    const rate = Math.round(done / ((performance.now() - started) / 1_000))
    terminal.progress(`${progressBar('verifying', done, total)} ${rate.toLocaleString('en')} events/s`)
  }
}

function printReport(report: Report, terminal: Terminal): void {
  const { verdict, sentence, findings, notes, origin, size, signed_size, signatures, root } = report
  const colour = verdict === 'PRISTINE' ? 'green' : verdict === 'UNSIGNED_SELECTION' ? 'yellow' : 'red'
  terminal.print(terminal.paint(colour, `${verdict}: ${escapeUnprintable(sentence)}`))
  for (const finding of findings.slice(1, FINDINGS_SHOWN))
    terminal.print(`also: ${escapeUnprintable(sentenceOf(finding))}`)
  if (findings.length > FINDINGS_SHOWN) terminal.print(`and ${findings.length - FINDINGS_SHOWN} more; --json has all`)
  for (const note of notes) terminal.print(`note: ${escapeUnprintable(note)}`)
  const by = signatures.length === 0 ? '' : ` (${signatures.join(' and ')})`
  const extent = `${counted(size, 'event')}, ${signed_size} of them signed${by}${root === undefined ? '' : `, root ${root}`}`
  terminal.print(`log ${escapeUnprintable(origin ?? 'unknown')}, ${extent}`)
}
