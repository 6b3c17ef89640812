/** What archives at hand hold of a subject, for an erasure of either trail. */
import { removeUnfinished } from '../archive/erase-archives.ts'
import { readManifest } from '../archive/folder.ts'
import { manifestName } from '../archive/format.ts'
import { type HoldingArchive, searchArchiveTexts } from '../archive/text-search.ts'
import type { LeavingTrail } from '../archive/trail.ts'
import { Refusal } from '../errors.ts'
import type { StoredEvent } from '../event/event.ts'
import type { ArchiveRecord } from '../store/retention.ts'
import { rowHolds, type Subject } from '../store/subject.ts'

export interface ArchivedRemains {
  /** On record as having left. */
  readonly archives: readonly { readonly archive: HoldingArchive; readonly record: ArchiveRecord }[]
  /** Archives that are not on record. */
  readonly unfinished: readonly HoldingArchive[]
  /** Numbers of the archives that are not at hand. */
  readonly missing: readonly number[]
}

/** @param directory the folder that archives are written to unless told otherwise. @throws {Refusal} ARCHIVE_INVALID */
export async function findInArchives(
  directory: string,
  known: readonly ArchiveRecord[],
  subject: Subject,
): Promise<ArchivedRemains> {
  const isHolder = (event: StoredEvent) => !isTombstone(event) && rowHolds(event, subject)
  const { found, missing } = await searchArchiveTexts(directory, known, isHolder)
  const looked = found.map(archive => ({ archive, record: recordOf(archive, known) }))
  return {
    archives: looked.flatMap(({ archive, record }) => (record === undefined ? [] : [{ archive, record }])),
    unfinished: looked.filter(({ record }) => record === undefined).map(({ archive }) => archive),
    missing,
  }
}

/** By its manifest: it may have been moved. */
function recordOf({ path }: HoldingArchive, known: readonly ArchiveRecord[]): ArchiveRecord | undefined {
  const digest = readManifest(manifestName(path))?.digest
  return known.find(({ manifest_sha256, file }) => manifest_sha256 === digest || file === path)
}

/** A tombstone holds nobody. */
const isTombstone = ({ action, reason_code }: StoredEvent) => action === 'SYSTEM' && reason_code === 'ERASED'

/** One archive may lie in two places. */
export function eventsIn(archives: ArchivedRemains['archives']): StoredEvent[] {
  return [...new Map(archives.flatMap(({ archive }) => archive.events).map(event => [event.id, event])).values()]
}

/** One that was about to leave goes, as its events are rows. @throws {Refusal} ERASURE_BLOCKED */
export async function removeOrRefuse(
  trail: Pick<LeavingTrail, 'sealed' | 'blocks'>,
  archive: HoldingArchive,
): Promise<void> {
  if (await removeUnfinished(trail, archive)) return
  const why = 'it is not on record as having left this database, and holds other events than that has'
  throw new Refusal('ERASURE_BLOCKED', `Nothing was erased. ${archive.path} holds the subject, and ${why}.`)
}
