/** `archive`: old segments of the trail leave as files; the check of those files. Legal holds are in holds.ts. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { type ArchivePlan, archiveSegments, planArchive } from '../archive/archive.ts'
import { verifyArchives } from '../archive/verify.ts'
import { ACCESS } from '../event/catalogue.ts'
import type { ArchiveRecord, SealedSegment } from '../store/retention.ts'
import { archivingOf } from './archiving.ts'
import { wholeNumber } from './filters.ts'
import { holdCommand } from './holds.ts'
import { EXIT, UsageError } from './outcome.ts'
import { progressBar } from './progress-bar.ts'
import type { Shell } from './shell.ts'
import { parseTime } from './times.ts'

interface Options {
  readonly to?: string
  readonly before?: string
  readonly keepDays?: number
  readonly dryRun?: boolean
  readonly json?: boolean
}

const DAY_MS = 86_400_000

export function archiveCommand(shell: Shell): Command {
  return new Command('archive')
    .description('Move old events out of the database into compressed files, check those, hold events back.')
    .addCommand(runCommand(shell), { isDefault: true })
    .addCommand(verifyCommand(shell))
    .addCommand(holdCommand(shell))
    .addHelpText(
      'after',
      `
Without a command it is "run", whose options are: --to, --before, --keep-days, --dry-run, --json.

Examples:
  ev-central archive --keep-days 365 --dry-run
  ev-central archive --keep-days 365 --to /mnt/archive
  ev-central archive verify /mnt/archive
  ev-central archive hold add --from 2026-03-01 --to 2026-04-01 --reason "case 4711"
  ev-central query --archive /mnt/archive --who CP-001 --start-time 2026-01-01`,
    )
}

/** A command of its own, so that its options are not taken for those of `hold add`. */
function runCommand(shell: Shell): Command {
  return new Command('run')
    .description('Archive what is old enough, with the service running or stopped.')
    .option('--to <folder>', 'where the archives go to (otherwise `archive` in the data folder)')
    .option('--before <time>', 'events before this time: ISO-8601, or relative such as -90d', parseTime)
    .option('--keep-days <n>', 'events older than so many days (otherwise EVC_RETENTION_DAYS)', wholeNumber(1, 36_500))
    .option('--dry-run', 'only say what would leave')
    .option('--json', 'as one JSON object')
    .addHelpText(
      'after',
      `
Whole segments of 131,072 events leave, with EVC_DATABASE_URL whole partitions of 524,288, the oldest first; each once its newest
event is old enough. The one that still grows stays. A segment is dropped only after its archive was read back from the disk, with the proof that its events are under a signed
checkpoint. The trail gets a SYSTEM event, ARCHIVED.

Example:
  ev-central archive --keep-days 365 --to /mnt/archive`,
    )
    .action((options: Options, command: Command) => archive(options, command, shell))
}

async function archive(options: Options, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const { store, directory, prepare } = archivingOf(shell, command)
  await prepare()
  const beforeMs = limitOf(options, shell.settings(command).retentionDays)
  if (options.dryRun === true) return printPlan(await planArchive(store, beforeMs), options, shell)
  const { archived, held, unsigned, space } = await archiveSegments({
    store,
    directory: options.to === undefined ? directory : resolve(options.to),
    beforeMs,
    actor: shell.user,
    onProgress: ({ phase, done, total }) => terminal.progress(progressBar(phase, done, total)),
  }).finally(() => terminal.progressDone())
  if (options.json === true) {
    const bytes =
      space === undefined ? {} : { database_bytes_before: space.bytesBefore, database_bytes_after: space.bytesAfter }
    const stayed = { held: held.map(heldAsData), unsigned: unsigned.map(asData) }
    return terminal.print(JSON.stringify({ archived, ...stayed, ...bytes }))
  }
  for (const record of archived) terminal.print(describe(record))
  printHeld(held, shell)
  printUnsigned(unsigned, shell)
  if (archived.length === 0) return terminal.print('nothing left the database')
  if (space === undefined) return
  terminal.print(`audit.db: ${mebibytes(space.bytesBefore)} before, ${mebibytes(space.bytesAfter)} now`)
  if (!space.canShrink) {
    terminal.note('audit.db was made by a version whose files do not shrink: the space is used again for new events')
  }
}

/** Epoch milliseconds. @throws {UsageError} */
function limitOf({ before, keepDays }: Options, retentionDays: number | undefined): number {
  if (before !== undefined && keepDays !== undefined)
    throw new UsageError('--before and --keep-days exclude each other')
  if (before !== undefined) return Date.parse(before)
  const days = keepDays ?? retentionDays
  if (days === undefined) throw new UsageError('one of --before, --keep-days and EVC_RETENTION_DAYS is needed')
  return Date.now() - days * DAY_MS
}

function printPlan({ leaving, unsigned, held }: ArchivePlan, { json }: Options, shell: Shell): void {
  const { terminal } = shell
  if (json === true) {
    const stayed = { held: held.map(heldAsData), unsigned: unsigned.map(asData) }
    terminal.print(JSON.stringify({ leaving: leaving.map(asData), ...stayed }))
    return
  }
  for (const segment of leaving) terminal.print(`would leave: ${eventsOf(asData(segment))}`)
  printHeld(held, shell)
  printUnsigned(unsigned, shell)
  if (leaving.length === 0) terminal.print('nothing would leave the database')
}

function printHeld(held: ArchivePlan['held'], { terminal }: Shell): void {
  for (const { segment, holds } of held) {
    terminal.print(`held: ${eventsOf(asData(segment))}, by legal hold ${holds.map(({ id }) => id).join(', ')}`)
  }
}

function printUnsigned(unsigned: readonly SealedSegment[], { terminal }: Shell): void {
  for (const segment of unsigned) terminal.print(`not signed yet: ${eventsOf(asData(segment))}`)
  if (unsigned.length === 0) return
  terminal.note(
    'no checkpoint covers these events, so their archive would prove nothing: start the service, which signs one',
  )
}

type Range = Pick<ArchiveRecord, 'first_id' | 'last_id' | 'first_time' | 'last_time'>

function asData({ firstId, lastId, firstTime, lastTime }: SealedSegment): Range {
  return { first_id: firstId, last_id: lastId, first_time: firstTime, last_time: lastTime }
}

const heldAsData = ({ segment, holds }: ArchivePlan['held'][number]) => ({
  ...asData(segment),
  holds: holds.map(({ id }) => id),
})

const eventsOf = ({ first_id, last_id, first_time, last_time }: Range) =>
  `events ${first_id} to ${last_id}, ${first_time} to ${last_time}`

const describe = (record: ArchiveRecord) => `archive ${record.number}: ${eventsOf(record)}, ${record.file}`

const mebibytes = (bytes: number) => `${(bytes / 1_048_576).toFixed(1)} MiB`

function verifyCommand(shell: Shell): Command {
  return new Command('verify')
    .description('Read every archive again and compare it with its manifest and with what left the database.')
    .argument('[folder]', 'folder of archives (otherwise `archive` in the data folder)')
    .option('--json', 'as one JSON object')
    .addHelpText(
      'after',
      `
Exit code 1 if anything is wrong. With the data folder or EVC_DATABASE_URL at hand, archives are also compared with what left
that database; without, only with their manifests and with each other.

Example:
  ev-central archive verify /mnt/archive`,
    )
    .action((directory: string | undefined, options: { json?: boolean }, command: Command) =>
      verify(directory, options, command, shell),
    )
}

async function verify(
  given: string | undefined,
  options: { json?: boolean },
  command: Command,
  shell: Shell,
): Promise<void> {
  const { terminal } = shell
  const archiving = archivingOf(shell, command)
  const directory = given ?? archiving.directory
  if (!existsSync(directory)) throw new UsageError(`there is no folder ${directory}`)
  await archiving.record('archive verify', { access: ACCESS.VERIFY, filter: {} })
  const known = await archiving.known()
  const { sound, problems } = await verifyArchives(directory, known, (done, total) =>
    terminal.progress(progressBar('reading', done, total)),
  ).finally(() => terminal.progressDone())
  if (sound.length + problems.length === 0) throw new UsageError(`${directory} holds no archives`)
  const all = [...problems, ...(await archiving.gaps())]
  if (all.length > 0) shell.exitCode = EXIT.failed
  if (options.json === true) {
    return terminal.print(JSON.stringify({ sound: sound.map(({ file }) => file), problems: all, known: known.length }))
  }
  for (const manifest of sound) terminal.print(`sound: archive ${manifest.number}, ${eventsOf(manifest)}`)
  for (const problem of all) terminal.print(terminal.paint('red', `WRONG: ${problem}`))
  if (known.length === 0) terminal.note('not compared with an event database: none that archives left is at hand')
}
