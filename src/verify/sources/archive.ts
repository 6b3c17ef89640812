/**
 * A folder of archives as a source: its rows in the place of those that left the log whose tiles are given, which may be a mirror, a
 * data folder, or the same folder. So every archived row is compared with its leaf, and the leaf with what was signed.
 * Without a log at hand: archive-alone.ts.
 */
import { checkBundles } from '../range.ts'
import type { EvidenceSource, Overview, RowsOverview } from '../source.ts'
import { type ArchivedRange, openArchiveRows } from './archive-rows.ts'
import { openReader, type ReaderSpec } from './readers.ts'

/**
 * @param path folder of archives
 * @param log the log that they left; disposed of with this
 * @throws {UnreadableSource}
 */
export async function openArchive(path: string, log: EvidenceSource, logPath: string): Promise<EvidenceSource> {
  await using undo = new AsyncDisposableStack()
  undo.use(log)
  const files = undo.use(openArchiveRows(path))
  const spec: ReaderSpec = { kind: 'archive', path, log: specOf(log.overview, logPath) }
  const reader = undo.use(openReader(spec))
  const owned = undo.move()
  return {
    overview: { ...log.overview, kind: 'archive', rows: rowsOf(log.overview, files.ranges), notes: files.notes },
    parallel: 0,
    checkRange: async range => checkBundles(reader, range),
    readTile: log.readTile,
    lookFurther: async () => [...files.checkFiles(), ...(await log.lookFurther())],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}

function specOf({ kind }: Overview, path: string): ReaderSpec {
  return kind === 'data folder' ? { kind, path } : { kind: 'mirror', path }
}

/**
 * A mirror does not know which event erased which, and has no other rows: then the manifests say so of their own. Manifests are those
 * that lie here, if they do.
 */
function rowsOf({ rows }: Overview, ranges: readonly ArchivedRange[]): RowsOverview {
  const lastId = Math.max(0, ...ranges.map(({ last }) => last))
  if (rows === undefined) {
    const erasures = ranges
      .flatMap(range => range.erasures)
      .flatMap(({ event, ids }) => ids.map(id => ({ id, tombstone: event })))
    return { lastId, hidden: [], archives: [], erasures, areErasuresOfSome: true, records: [] }
  }
  const here = new Map(ranges.map(({ number, digest }) => [number, digest]))
  const archives = rows.archives.map(claim => ({ ...claim, foundSha256: here.get(claim.number) ?? claim.foundSha256 }))
  return { ...rows, archives }
}
