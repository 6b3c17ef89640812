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

export function checkBundles(reader: BundleReader, { first, end, size, sizes }: BundleRange): RangeReport {
  const roots = new Uint8Array((end - first) * HASH_BYTES)
  const odd: OddBundle[] = []
  const marked: MarkedBundle[] = []
  const erased: number[] = []
  const unknown: number[] = []
  const records: RangeReport['records'][number][] = []
  const findings: Finding[] = []

  function take(index: number, checked: CheckedBundle): void {
    if (checked.root !== undefined) roots.set(checked.root, (index - first) * HASH_BYTES)
    if (checked.odd !== undefined) {
      odd.push(odd.length < DETAILS_MAX ? checked.odd : { ...checked.odd, detail: undefined })
    }
    erased.push(...checked.erased)
    unknown.push(...checked.unknown)
    records.push(...checked.records)
    findings.push(...checked.findings)
  }

  for (let index = first; index < end; index++) {
    const width = Math.min(TILE_WIDTH, size - index * TILE_WIDTH)
    const checked = readAndCheck(reader, index, width, size)
    take(index, checked)
    if (isWanted(index, sizes)) marked.push({ index, leaves: checked.leaves })
  }
  const lastId = Math.min(end * TILE_WIDTH, size)
  if (lastId > first * TILE_WIDTH) findings.push(...reader.hidden(first * TILE_WIDTH + 1, lastId))
  return { first, roots, odd, marked, erased, unknown, records, findings }
}

/** A part that cannot be read at all does not keep the others from being looked at. */
function readAndCheck(reader: BundleReader, index: number, width: number, size: number): CheckedBundle {
  try {
    return checkBundle(reader.read(index, width, size))
  } catch (error) {
    const { message } = error as Error
    const odd = { index, width, roots: {}, lacksParent: false, hasRows: false, detail: undefined }
    const at = { id: index * TILE_WIDTH + 1 }
    const finding: Finding = { verdict: 'MALFORMED', at, detail: `Its bundle cannot be read: ${message}` }
    return { root: undefined, odd, leaves: {}, erased: [], unknown: [], records: [], findings: [finding] }
  }
}

/** Whether one of the sizes ends within the bundle, or with it where it is not full. */
function isWanted(index: number, sizes: readonly number[]): boolean {
  return sizes.some(size => size % TILE_WIDTH > 0 && Math.floor(size / TILE_WIDTH) === index)
}
