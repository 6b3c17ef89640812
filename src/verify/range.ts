/** A range of bundles, one after the other: what a worker does, or whoever has no workers. Memory does not grow with the range. */
import { HASH_BYTES } from '../evidence/encoding.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { type CheckedBundle, checkBundle } from './bundle.ts'
import type { BundleRange, MarkedBundle, OddBundle, RangeReport, StoredBundle } from './source.ts'
import type { Finding } from './verdict.ts'

/** Gives the bundles of a source. Only the last one of a log may have a width below 256. */
export interface BundleReader {
  /** @param size of the whole log: its tiles may have grown since */
  read(index: number, width: number, size: number): StoredBundle
  /** Rows of these ids that queries do not reach, the first of each kind. */
  hidden(firstId: number, lastId: number): Finding[]
}

/** Beyond so many, where exactly they differ is not kept: a log that is wrong everywhere has to fit into memory too. */
const DETAILS_MAX = 16

export function checkBundles(reader: BundleReader, range: BundleRange): RangeReport {
  const check = beginRange(range)
  for (let index = range.first; index < range.end; index++) {
    check.add(index, width => reader.read(index, width, range.size))
  }
  const lastId = Math.min(range.end * TILE_WIDTH, range.size)
  const isEmpty = lastId <= range.first * TILE_WIDTH
  return check.report(isEmpty ? [] : reader.hidden(range.first * TILE_WIDTH + 1, lastId))
}

/** A range under way, for whoever has its bundles one after the other and not all at once. */
export interface RangeCheck {
  /** In the order of their indexes. */
  add(index: number, read: (width: number) => StoredBundle): void
  /** @param hidden rows of the range that queries do not reach */
  report(hidden: readonly Finding[]): RangeReport
}

export function beginRange({ first, end, size, sizes }: BundleRange): RangeCheck {
  const roots = new Uint8Array((end - first) * HASH_BYTES)
  const odd: OddBundle[] = []
  const marked: MarkedBundle[] = []
  const erased: number[] = []
  const unknown: number[] = []
  const records: RangeReport['records'][number][] = []
  const findings: Finding[] = []

  return {
    add(index, read) {
      const checked = readAndCheck(index, Math.min(TILE_WIDTH, size - index * TILE_WIDTH), read)
      if (checked.root !== undefined) roots.set(checked.root, (index - first) * HASH_BYTES)
      if (checked.odd !== undefined) {
        odd.push(odd.length < DETAILS_MAX ? checked.odd : { ...checked.odd, detail: undefined })
      }
      erased.push(...checked.erased)
      unknown.push(...checked.unknown)
      records.push(...checked.records)
      findings.push(...checked.findings)
      if (isWanted(index, sizes)) marked.push({ index, leaves: checked.leaves() })
    },
    report: hidden => ({
      first,
      roots,
      odd,
      marked,
      erased,
      unknown,
      records,
      findings: [...findings, ...hidden],
    }),
  }
}

/** A part that cannot be read at all does not keep the others from being looked at. */
function readAndCheck(index: number, width: number, read: (width: number) => StoredBundle): CheckedBundle {
  try {
    return checkBundle(read(width))
  } catch (error) {
    const { message } = error as Error
    const odd = { index, width, roots: {}, lacksTile: false, lacksParent: false, hasRows: false, detail: undefined }
    const at = { id: index * TILE_WIDTH + 1 }
    const finding: Finding = { verdict: 'MALFORMED', at, detail: `Its bundle cannot be read: ${message}` }
    return { root: undefined, odd, leaves: () => ({}), erased: [], unknown: [], records: [], findings: [finding] }
  }
}

/** Whether one of the sizes ends within the bundle, or with it where it is not full. */
function isWanted(index: number, sizes: readonly number[]): boolean {
  return sizes.some(size => size % TILE_WIDTH > 0 && Math.floor(size / TILE_WIDTH) === index)
}
