/** `evidence`: events with all that proves them, and a page that checks it, as one file for somebody else. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { withArchives } from '../archive/proven-archives.ts'
import { readKnownArchives } from '../archive/trail.ts'
import { signManifest } from '../checkpoint/pack-note.ts'
import { readSharedSigned } from '../checkpoint/postgres-signed.ts'
import { counted } from '../counted.ts'
import { ACCESS } from '../event/catalogue.ts'
import { currentKeys, formatKeyChain, listKeys } from '../evidence/key-chain.ts'
import { formatVerifierKey } from '../evidence/note.ts'
import type { PackSelection } from '../evidence/pack.ts'
import { writePieces } from '../files/whole-file.ts'
import { LIMITS } from '../limits.ts'
import { type Pack, type PackSource, writePack } from '../pack/write-pack.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { dataFolder, storeOf } from '../service/data-folder.ts'
import { keyFolders } from '../service/rotate-key.ts'
import { signSharedManifest } from '../service/shared-keys.ts'
import {
  chooseCheckpoint,
  readStoredNotes,
  type StoredCheckpoint,
  type StoredNotes,
} from '../service/stored-checkpoint.ts'
import type { Settings } from '../settings/settings.ts'
import type { StoreLocation } from '../store/location.ts'
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
  const log = logOf(settings, command, shell)
  using queries = await withArchives(trail, () => readKnownArchives(log.store))
  const stored = await log.readNotes()
  const storedAt = async (id: number) => (await queries.event(id))?.created_at
  const shown = await chooseCheckpoint(stored, settings, storedAt)
  const keys = stored.chain && formatKeyChain(stored.chain)
  const source: PackSource = { queries, checkpoint: shown?.note, keys, signManifest: log.signManifest }
  const onProgress = (done: number, total: number) => terminal.progress(progressBar('proving', done, total))
  const pack = await writePack(source, selection, { onProgress }).finally(() => terminal.progressDone())
  await writePieces(output, append => {
    for (const piece of pack.zip) append(piece)
  })
  const { manifest } = pack
  if (options.json === true) return terminal.print(JSON.stringify(manifest))
  terminal.print(`${counted(manifest.events, 'event')} of ${manifest.start_time} to ${manifest.end_time}: ${output}`)
  for (const key of stored.chain === undefined ? [] : listKeys(currentKeys(stored.chain))) {
    terminal.print(`key to give along by another way: ${formatVerifierKey(key)}`)
  }
  for (const lack of lacksOf(pack, shown, settings, await trail.lastId())) terminal.note(lack)
}

/** Sentences: what is not in the pack, or not as it could be. */
function* lacksOf(
  { manifest, isSelectionSigned }: Pack,
  shown: StoredCheckpoint | undefined,
  { witnessQuorum }: Settings,
  lastId: number,
): Generator<string> {
  const { archives_missing, tree_size } = manifest
  if (archives_missing.length > 0) {
    yield `events of this time are in archives that are not where they were written to, or have just left: ${archives_missing.join(', ')}; they are not in the pack, which says so`
  }
  if (!isSelectionSigned) {
    yield 'the selection is not signed, as the private key of the log is not here, or was exchanged meanwhile: whoever verifies the pack is told UNSIGNED_SELECTION; GET /audit/evidence makes one that is signed'
  }
  const cosigned = `cosigned by ${witnessQuorum} of the witnesses`
  if (shown?.kind === 'unwitnessed') yield `the newest checkpoint is not ${cosigned}; the pack has it as it is`
  if (lastId > tree_size) {
    const newest = `the newest checkpoint${shown?.kind === 'witnessed' ? ` that is ${cosigned}` : ''}`
    yield `${newest} ends at event ${tree_size}; events behind it are not in the pack`
  }
}

/** The log of the settings: where its events are, what is kept of its checkpoints, and who signs for it here. */
interface Log {
  readonly store: StoreLocation
  readNotes(): Promise<StoredNotes>
  readonly signManifest: PackSource['signManifest']
}

function logOf(settings: Settings, command: Command, shell: Shell): Log {
  const { databaseUrl: url, dataDir } = settings
  if (url !== undefined) {
    return {
      store: storeOf(dataFolder(dataDir), url),
      readNotes: () => readShared(url),
      signManifest: manifest => signSharedManifest({ settings, url, logger: silentLogger() }, manifest),
    }
  }
  const folder = shell.folder(command)
  const folders = keyFolders(folder)
  return {
    store: storeOf(folder),
    readNotes: async () => readStoredNotes(folders),
    signManifest: async manifest => signManifest(folders, manifest),
  }
}

async function readShared(url: string): Promise<StoredNotes> {
  await using postgres = createPostgres({ url, connectionsMax: 1 })
  return await postgres.snapshot(readSharedSigned)
}
