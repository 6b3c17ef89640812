/** A log in memory as a source, as a page in a browser has it: entries, tiles and a checkpoint. */

import { formatTilePath, tileAt } from '../../../src/evidence/tile.ts'
import type { EvidenceSource, Overview, StoredBundle } from '../../../src/verify/browser.ts'
import { checkBundles } from '../../../src/verify/browser.ts'
import type { LogUnderTest } from '../evidence/log-under-test.ts'

export function memorySource(
  log: LogUnderTest,
  signed: Pick<Overview, 'checkpoint' | 'witnessed' | 'history' | 'keys'>,
): EvidenceSource {
  const size = log.tree.size
  const read = (level: number | 'entries', index: number) => {
    const tile = tileAt(level, index, size)
    return tile && log.tiles.get(formatTilePath(tile))
  }
  const reader = {
    read(index: number, width: number): StoredBundle {
      const above = read(1, 0)?.subarray(index * 32, (index + 1) * 32)
      const parent = above?.length === 32 ? above : undefined
      const lacksParent = parent === undefined && width === 256
      return {
        index,
        width,
        entries: read('entries', index),
        isCut: false,
        tile: read(0, index),
        lacksTile: read(0, index) === undefined,
        parent,
        lacksParent,
        rows: undefined,
      }
    },
    hidden: () => [],
  }
  return {
    overview: { kind: 'evidence pack', head: undefined, rows: undefined, ...signed },
    parallel: 0,
    checkRange: async range => checkBundles(reader, range),
    readTile: () => undefined,
    lookFurther: async () => [],
    [Symbol.asyncDispose]: async () => {},
  }
}
