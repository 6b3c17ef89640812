/**
 * A folder of archives as a source: its rows in the place of those that left the log whose tiles are given, which may be a mirror, a
 * data folder, or the same folder. So every archived row is compared with its leaf, and the leaf with what was signed.
 *
 * Alone, without tiles, an archive only agrees with itself: its digests fit, its ids have no gaps, its rows and salts make leaves.
 * That these were logged is not shown; what it takes for it is said: the roots of the subtrees that they make.
 */
import { formatBase64 } from '../../evidence/encoding.ts'
import { isErasedSalt } from '../../evidence/leaf.ts'
import { foldEdge, growTree, type Hash } from '../../evidence/merkle.ts'
import { TILE_WIDTH } from '../../evidence/tile.ts'
import { hashOfRow, saltOf } from '../bundle.ts'
import { checkBundles } from '../range.ts'
import type { EvidenceSource, Overview, RowsOverview } from '../source.ts'
import type { Finding } from '../verdict.ts'
import { type Report, verdictOf } from '../verify.ts'
import { type ArchivedRange, type ArchiveRows, openArchiveRows } from './archive-rows.ts'
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
    overview: { ...log.overview, kind: 'archive', rows: rowsOf(log.overview, files.ranges) },
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

/** A mirror does not know which event erased which, and has no other rows. */
function rowsOf({ rows }: Overview, ranges: readonly ArchivedRange[]): RowsOverview {
  const lastId = Math.max(0, ...ranges.map(({ last }) => last))
  return rows ?? { lastId, hidden: [], archives: [], erasures: undefined, records: [] }
}

/** What an archive shows without a log. */
export function verifyAlone(path: string, onProgress: (done: number, total: number) => void = () => {}): Report {
  using files = openArchiveRows(path)
  const findings = files.checkFiles()
  const notes: string[] = []
  const total = files.ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0)
  let done = 0
  let erased = 0
  for (const range of files.ranges) {
    const read = readAlone(files, range, count => {
      done += count
      onProgress(done, total)
    })
    erased += read.erased
    findings.push(...read.findings)
    if (read.root !== undefined) {
      notes.push(`the leaves of events ${range.first} to ${range.last} make the subtree ${formatBase64(read.root)}`)
    }
  }
  const first = files.ranges[0]?.first ?? 1
  findings.push({
    verdict: 'UNVERIFIABLE',
    at: { id: first },
    detail: 'The archive agrees with itself; --tiles names the log that its events have to be compared with',
  })
  return {
    ...verdictOf(findings, `${total} archived events`),
    notes,
    origin: undefined,
    size: total,
    signed_size: 0,
    root: undefined,
    checkpoints: 0,
    erased,
    archived: total,
  }
}

function readAlone(files: ArchiveRows, { first, last }: ArchivedRange, onRows: (count: number) => void) {
  const findings: Finding[] = []
  const tree = growTree()
  let erased = 0
  for (let id = first; id <= last; id += TILE_WIDTH) {
    const width = Math.min(TILE_WIDTH, last - id + 1)
    const stored = files.rows((id - 1) / TILE_WIDTH, width)
    const rows = new Map(stored?.values().map(row => [row.id, row]))
    for (let n = 0; n < width; n++) {
      const row = rows.get(id + n)
      const salt = stored && saltOf(stored, n)
      const leaf: Hash | undefined = row && hashOfRow(row, salt)
      if (salt !== undefined && isErasedSalt(salt)) erased++
      if (leaf !== undefined) tree.append(leaf)
      else if (row === undefined)
        findings.push({ verdict: 'DELETED', at: { id: id + n }, detail: 'It is not in the archive' })
    }
    onRows(width)
  }
  const isWhole = erased === 0 && tree.size === last - first + 1
  return { findings, erased, root: isWhole ? foldEdge(tree.edge().hashes) : undefined }
}
