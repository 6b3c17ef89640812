/** `evidence`: events with all that proves them, and a page that checks it, as one file for somebody else. */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { withArchives } from '../archive/proven-archives.ts'
import { readKnownArchives } from '../archive/trail.ts'
import { signManifest } from '../checkpoint/pack-note.ts'
import { readSharedSigned } from '../checkpoint/postgres-signed.ts'
import { ACCESS } from '../event/catalogue.ts'
import { currentKeys, formatKeyChain, listKeys } from '../evidence/key-chain.ts'
import { formatVerifierKey } from '../evidence/note.ts'
import type { PackSelection } from '../evidence/pack.ts'
import { LIMITS } from '../limits.ts'
import { type PackSource, writePack } from '../pack/write-pack.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { dataFolder, trailPlace } from '../service/data-folder.ts'
import { keyFolders } from '../service/rotate-key.ts'
import { signSharedManifest } from '../service/shared-keys.ts'
import { chooseCheckpoint, readStoredNotes, type StoredNotes } from '../service/stored-checkpoint.ts'
import { freeText, wholeNumber } from './filters.ts'
import { UsageError } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import { silentLogger } from './security-door.ts'
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
  const settings = shell.settings(command)
  const { databaseUrl } = settings
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
  const folders = folder && keyFolders(folder)
  const onProgress = (done: number, total: number) => terminal.progress(progressBar('proving', done, total))
  const place = trailPlace(folder ?? dataFolder(settings.dataDir), databaseUrl)
  using queries = await withArchives(trail, () => readKnownArchives(place))
  const stored = folders === undefined ? await readShared(databaseUrl as string) : readStoredNotes(folders)
  const storedAt = async (id: number) => (await queries.event(id))?.created_at
  const shown = await chooseCheckpoint(stored, settings, storedAt)
  const { chain } = stored
  const source: PackSource = {
    queries,
    checkpoint: shown?.note,
    keys: chain && formatKeyChain(chain),
    signManifest: async manifest =>
      folders === undefined
        ? signSharedManifest({ settings, url: databaseUrl as string, logger: silentLogger() }, manifest)
        : signManifest(folders, manifest),
  }
  const { manifest, isSelectionSigned, zip } = await writePack(source, selection, { onProgress }).finally(() =>
    terminal.progressDone(),
  )
  writeNew(output, zip)
  if (options.json === true) return terminal.print(JSON.stringify(manifest))
  terminal.print(`${manifest.events} events of ${manifest.start_time} to ${manifest.end_time}: ${output}`)
  for (const key of chain === undefined ? [] : listKeys(currentKeys(chain))) {
    terminal.print(`key to give along by another way: ${formatVerifierKey(key)}`)
  }
  const { archives_missing } = manifest
  if (archives_missing.length > 0) {
    terminal.note(
      `events of this time are in archives that are not where they were written to, or have just left: ${archives_missing.join(', ')}; they are not in the pack, which says so`,
    )
  }
  if (!isSelectionSigned) {
    terminal.note(
      'the selection is not signed, as the private key of the log is not here, or was exchanged meanwhile: whoever verifies the pack is told UNSIGNED_SELECTION; GET /audit/evidence makes one that is signed',
    )
  }
  const cosigned = `cosigned by ${settings.witnessQuorum} of the witnesses`
  if (shown?.kind === 'unwitnessed') terminal.note(`the newest checkpoint is not ${cosigned}; the pack has it as it is`)
  const lastId = await trail.lastId()
  if (lastId > manifest.tree_size) {
    const newest = `the newest checkpoint${shown?.kind === 'witnessed' ? ` that is ${cosigned}` : ''}`
    terminal.note(`${newest} ends at event ${manifest.tree_size}; events behind it are not in the pack`)
  }
}

async function readShared(url: string): Promise<StoredNotes> {
  const postgres = createPostgres({ url, connectionsMax: 1 })
  try {
    return await postgres.snapshot(readSharedSigned)
  } finally {
    await postgres.close()
  }
}

/**
 * Private to its owner. Crash before the rename: a draft with a name that says so. It is always made anew, for in a folder of
 * others, such as /tmp, one may wait that is theirs to read, or a link to another file.
 */
function writeNew(path: string, pieces: Iterable<Uint8Array>): void {
  const draft = `${path}.draft`
  rmSync(draft, { force: true })
  const file = openSync(draft, 'wx', 0o600)
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
