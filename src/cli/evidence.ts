/** `evidence`: events with all that proves them, and a page that checks it, as one file for somebody else. */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Command } from 'commander'
import { withArchives } from '../archive/proven-archives.ts'
import { readKeyChain } from '../checkpoint/key-files.ts'
import { readSharedSigned } from '../checkpoint/postgres-signed.ts'
import { ACCESS } from '../event/catalogue.ts'
import { currentKey, formatKeyChain, type KeyChain } from '../evidence/key-chain.ts'
import { formatVerifierKey } from '../evidence/note.ts'
import type { PackSelection } from '../evidence/pack.ts'
import { LIMITS } from '../limits.ts'
import { writePack } from '../pack/write-pack.ts'
import { createPostgres } from '../postgres/postgres.ts'
import type { DataFolder } from '../service/data-folder.ts'
import { knownArchives } from './archive.ts'
import { freeText, wholeNumber } from './filters.ts'
import { UsageError } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import type { Shell } from './shell.ts'
import { parseTime } from './times.ts'
import { openTrail } from './trail.ts'

interface Options {
  readonly from: string
  readonly to: string
  readonly cp?: string
  readonly incident?: number
  readonly output: string
  readonly json?: boolean
}

export function evidenceCommand(shell: Shell): Command {
  return new Command('evidence')
    .description('Write events, their proofs and a page that checks them into one zip, for an auditor or an authority.')
    .requiredOption('--from <time>', 'events from this time on: ISO-8601, or relative such as -24h', parseTime)
    .requiredOption('--to <time>', 'events before this time', parseTime)
    .option('--cp <id>', 'only events of this charge point', freeText(LIMITS.cpIdCharactersMax))
    .option(
      '--incident <id>',
      'only events of the address (or charge point) that this INCIDENT event is about',
      wholeNumber(1, Number.MAX_SAFE_INTEGER),
    )
    .requiredOption('-o, --output <file>', 'the zip; must not exist')
    .option('--json', 'the manifest, as one JSON object')
    .addHelpText(
      'after',
      `
Works with the service running or stopped, and takes events that have left from their archives. Whoever gets the zip opens its index.html in any browser: it needs no network,
says whether anything was changed, and shows what happened. Give them the key of the log by another way: ev-central key show.
The pack holds personal data. The trail gets an ACCESS event, EXPORT.

Examples:
  ev-central evidence --from -24h --to now -o pack.zip
  ev-central evidence --from 2026-03-01 --to 2026-03-02 --cp CP-001 -o cp-001.zip
  ev-central evidence --from -7d --to now --incident 4711 -o incident.zip`,
    )
    .action((options: Options, command: Command) => evidence(options, command, shell))
}

async function evidence(options: Options, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const { databaseUrl } = shell.settings(command)
  const output = resolve(options.output)
  if (options.from > options.to) throw new UsageError('--to must not lie before --from')
  if (existsSync(output)) throw new UsageError(`${output} is there already`)
  const selection: PackSelection = {
    start_time: options.from,
    end_time: options.to,
    cp_id: options.cp ?? null,
    incident: options.incident ?? null,
  }
  const asked = Object.fromEntries(Object.entries(selection).filter(([, value]) => value !== null))
  await using trail = await openTrail(shell, command, { access: ACCESS.EXPORT, filter: asked })
  const folder = databaseUrl === undefined ? shell.folder(command) : undefined
  const { checkpoint, chain } = folder === undefined ? await readShared(databaseUrl as string) : readSigned(folder)
  const keys = chain && formatKeyChain(chain)
  const onProgress = (done: number, total: number) => terminal.progress(progressBar('proving', done, total))
  using queries = withArchives(trail, folder === undefined ? [] : knownArchives(folder))
  const { manifest, zip } = await writePack({ queries, checkpoint, keys }, selection, { onProgress }).finally(() =>
    terminal.progressDone(),
  )
  writeNew(output, zip)
  if (options.json === true) return terminal.print(JSON.stringify(manifest))
  terminal.print(`${manifest.events} events of ${manifest.start_time} to ${manifest.end_time}: ${output}`)
  if (chain !== undefined) terminal.print(`key to give along by another way: ${formatVerifierKey(currentKey(chain))}`)
  const missing = queries.missing({ start_time: manifest.start_time, end_time: manifest.end_time })
  if (missing.length > 0) {
    terminal.note(
      `events of this time are in archives that are not where they were written to: ${missing.join(', ')}; they are not in the pack`,
    )
  }
  const lastId = await trail.lastId()
  if (lastId > manifest.tree_size) {
    terminal.note(`the newest checkpoint ends at event ${manifest.tree_size}; events behind it are not in the pack`)
  }
}

interface Signed {
  readonly checkpoint: string | undefined
  readonly chain: KeyChain | undefined
}

async function readShared(url: string): Promise<Signed> {
  const postgres = createPostgres({ url, connectionsMax: 1 })
  try {
    return await postgres.snapshot(readSharedSigned)
  } finally {
    await postgres.close()
  }
}

/** The checkpoint first: a key that signs from now on is in the chain before it signs. */
function readSigned({ log }: DataFolder): Signed {
  const file = join(log, 'checkpoint')
  const checkpoint = existsSync(file) ? readFileSync(file, 'utf8') : undefined
  return { checkpoint, chain: readKeyChain({ log }) }
}

/** Private to its owner. Crash before the rename: a draft with a name that says so. */
function writeNew(path: string, pieces: Iterable<Uint8Array>): void {
  const draft = `${path}.draft`
  const file = openSync(draft, 'w', 0o600)
  try {
    for (const piece of pieces) for (let at = 0; at < piece.length; ) at += writeSync(file, piece, at)
    fsyncSync(file)
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  } finally {
    closeSync(file)
  }
}
