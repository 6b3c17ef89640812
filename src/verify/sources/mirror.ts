/**
 * A directory in the layout of C2SP tlog-tiles as a source: `checkpoint`, `tile/...`, and, if they are there, `keys` and
 * `checkpoints`. It has no rows: entries, tiles and signatures are what can be verified, and no personal data is needed for it.
 */
import { checkBundles } from '../range.ts'
import type { EvidenceSource } from '../source.ts'
import { LEAVES_FOR_WORKERS_MIN, type SourceOptions } from './data-folder.ts'
import { openReader, type ReaderSpec } from './readers.ts'
import { readSignedFiles, sizeOf } from './signed-files.ts'
import { startWorkers } from './worker-pool.ts'

/** @throws {UnreadableSource} */
export async function openMirror(path: string, { workers = 2 }: SourceOptions = {}): Promise<EvidenceSource> {
  await using undo = new AsyncDisposableStack()
  const signed = await readSignedFiles(path)
  const spec: ReaderSpec = { kind: 'mirror', path }
  const reader = undo.use(openReader(spec))
  const size = sizeOf(signed.checkpoint)
  const pool = size >= LEAVES_FOR_WORKERS_MIN && workers > 0 ? undo.use(startWorkers(spec, workers)) : undefined
  const owned = undo.move()
  return {
    overview: { kind: 'mirror', head: undefined, rows: undefined, ...signed },
    parallel: pool?.size ?? 0,
    checkRange: async range => pool?.checkRange(range) ?? checkBundles(reader, range),
    readTile: reader.readTile,
    lookFurther: async () => [],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
