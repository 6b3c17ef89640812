/**
 * One bundle: whether the rows, the entries, the leaves' hashes and the hash above them are all the same thing.
 *
 * Judges nothing when they are not: which of them is right is known only when the whole tree has been compared with what was
 * signed (authority.ts). Pure.
 */
import { areSameBytes, HASH_BYTES } from '../evidence/encoding.ts'
import {
  commit,
  ERASED_COLUMNS,
  type EventRow,
  formatLeaf,
  formatPrivate,
  hasErasedSalt,
  isErasedSalt,
  type Leaf,
  parseLeaf,
  SALT_BYTES,
} from '../evidence/leaf.ts'
import { type Hash, hashLeaf, perfectRoot } from '../evidence/merkle.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { hashRowText, isSame } from './row-text.ts'
import {
  type FoundRow,
  type Leaves,
  type LogEntry,
  type LogRecord,
  type OddBundle,
  RECORDED_REASONS,
  type StoredBundle,
  type StoredRows,
  type Witness,
} from './source.ts'
import { rootOf } from './subtree.ts'
import type { Finding } from './verdict.ts'

export interface CheckedBundle {
  /** Of the bundle, where all agree. */
  readonly root: Hash | undefined
  readonly odd: OddBundle | undefined
  /** Few are asked for. */
  readonly leaves: () => Leaves
  readonly erased: readonly number[]
  readonly unknown: readonly number[]
  readonly records: readonly (LogRecord | LogEntry)[]
  readonly findings: readonly Finding[]
}

const NOTHING = { erased: [], unknown: [], records: [], findings: [] } as const

export function checkBundle(stored: StoredBundle): CheckedBundle {
  return checkAsText(stored) ?? checkValues(stored)
}

/** Undefined when it takes a closer look. */
function checkAsText(stored: StoredBundle): CheckedBundle | undefined {
  const { rows, entries, isCut, tile, parent, width, lacksTile, lacksParent } = stored
  if (rows === undefined || entries === undefined || lacksTile || lacksParent || isCut) return undefined
  if (tile === undefined && parent === undefined) return undefined
  const { salts } = rows
  if (salts.length !== width * SALT_BYTES || hasErasedSalt(salts)) return undefined
  const text = rows.text()
  const hashes = text && hashRowText(text, { width, salts, entries })
  if (hashes === undefined || (tile !== undefined && !isSame(hashes, tile))) return undefined
  const root = width === TILE_WIDTH ? perfectRoot(hashes) : rootOf(hashesIn(hashes, width))!
  if (parent !== undefined && !areSameBytes(root, parent)) return undefined
  return { ...NOTHING, root, odd: undefined, leaves: () => sameLeaves(hashesIn(hashes, width)) }
}

const sameLeaves = (leaves: readonly (Hash | undefined)[]): Leaves => ({ rows: leaves, entries: leaves, tile: leaves })

function checkValues(stored: StoredBundle): CheckedBundle {
  const { index, width, parent, lacksTile, lacksParent } = stored
  const values = stored.rows?.values()
  const firstId = index * TILE_WIDTH + 1
  const byId = new Map<number, FoundRow>()
  const findings: Finding[] = []
  for (const row of values ?? []) {
    if (byId.has(row.id)) findings.push(inserted(row.id, 'Its id is stored twice'))
    else byId.set(row.id, row)
  }
  const { entries, isWhole } = entriesOf(stored, byId)
  const parsed = entries?.map(entry => (entry === undefined ? undefined : parseLeaf(entry)))
  const tile = stored.tile === undefined ? undefined : hashesIn(stored.tile, width)
  const entryHashes = entries?.map(entry => entry && hashLeaf(entry))
  const erased: number[] = []
  const unknown: number[] = []

  function rowHash(n: number): Hash | undefined {
    const row = byId.get(firstId + n)
    const leaf = parsed?.[n]
    if (leaf?.kind === 'unknown-version') {
      unknown.push(firstId + n)
      return row && entryHashes?.[n]
    }
    if (row === undefined) return undefined
    const salt = saltOf(stored.rows!, n)
    if (salt === undefined || !isErasedSalt(salt)) return hashOfRow(row, salt)
    erased.push(row.id)
    return leaf?.kind === 'leaf' ? hashOfErased(row, leaf.leaf.commitment) : undefined
  }

  const rows = stored.rows === undefined ? undefined : Array.from({ length: width }, (_, n) => rowHash(n))
  const leaves: Leaves = {
    ...(rows === undefined ? {} : { rows }),
    ...(entryHashes === undefined ? {} : { entries: entryHashes }),
    ...(tile === undefined ? {} : { tile }),
  }
  const roots: Partial<Record<Witness, Hash>> = {}
  for (const [witness, hashes] of Object.entries(leaves) as ['rows' | 'entries' | 'tile', (Hash | undefined)[]][]) {
    const root = rootOf(hashes)
    if (root !== undefined) roots[witness] = root
  }
  if (parent !== undefined) roots.parent = parent
  const found = Object.values(roots)
  const isKept = (hash: Uint8Array | undefined, isLacking: boolean) => hash !== undefined || isLacking
  const told = stored.rows?.areArchived === true ? recordsIn(byId.values()) : []
  const places = [rows !== undefined, true, isKept(stored.tile, lacksTile), isKept(parent, lacksParent)]
  const wanted = places.filter(isPlace => isPlace).length
  const saltsFit = stored.rows === undefined || stored.rows.salts.length === width * SALT_BYTES
  const agree = found.length === wanted && found.every(root => areSameBytes(root, found[0]!)) && isWhole && saltsFit
  const tileFits = stored.tile === undefined || stored.tile.length === width * HASH_BYTES
  if (agree && tileFits) {
    const content = stored.rows === undefined ? checkContent(firstId, parsed ?? []) : NOTHING
    return {
      root: found[0],
      odd: undefined,
      leaves: () => leaves,
      erased,
      unknown: [...unknown, ...content.unknown],
      records: [...told, ...content.records],
      findings: [...findings, ...content.findings],
    }
  }
  const faults = [
    ...(isWhole ? [] : ['The entries of its bundle are not as long as it says']),
    ...(saltsFit ? [] : ['The salts of its bundle are not as many as its rows']),
    ...(tileFits ? [] : ['The tile above it has not the width of its name']),
  ]
  const detail = { leaves, rows: values, salts: stored.rows?.salts, entries, faults }
  return {
    root: undefined,
    odd: { index, width, roots, lacksTile, lacksParent, hasRows: stored.rows !== undefined, detail },
    leaves: () => leaves,
    erased,
    unknown,
    records: told,
    findings,
  }
}

/** Where there are no rows, the entries alone say what they are. */
function checkContent(firstId: number, parsed: readonly (ReturnType<typeof parseLeaf> | undefined)[]) {
  const unknown: number[] = []
  const records: LogEntry[] = []
  const findings: Finding[] = []
  for (const [n, leaf] of parsed.entries()) {
    const id = firstId + n
    if (leaf?.kind === 'unknown-version') unknown.push(id)
    else if (leaf?.kind !== 'leaf') findings.push({ verdict: 'MALFORMED', at: { id }, detail: 'Its entry is no leaf' })
    else if (leaf.leaf.id !== id) {
      findings.push({ verdict: 'REORDERED', at: { id }, detail: `Its entry is one of event ${leaf.leaf.id}` })
    } else if (isRecord(leaf.leaf)) records.push({ id, reason: leaf.leaf.reason_code! })
  }
  return { unknown, records, findings }
}

const isRecord = ({ action, reason_code }: Pick<Leaf | FoundRow, 'action' | 'reason_code'>) =>
  action === 'SYSTEM' && RECORDED_REASONS.some(reason => reason === reason_code)

function recordsIn(rows: Iterable<FoundRow>): LogRecord[] {
  return [...rows].filter(isRecord).map(({ id, reason_code, metadata_json }) => {
    return { id, reason: String(reason_code), metadata: typeof metadata_json === 'string' ? metadata_json : null }
  })
}

/**
 * The stored entries, as far as they can be told apart. Of a bundle that is not full and has no file of entries yet: what the
 * public columns and the stored commitment make.
 */
function entriesOf(stored: StoredBundle, byId: ReadonlyMap<number, FoundRow>) {
  const { entries, rows, width, index } = stored
  const commitments = rows?.commitments
  if (entries !== undefined) return splitEntries(entries, stored)
  if (commitments === undefined) return { entries: undefined, isWhole: true }
  const made = Array.from({ length: width }, (_, n) => {
    const row = byId.get(index * TILE_WIDTH + 1 + n)
    const commitment = commitments.subarray(n * HASH_BYTES, (n + 1) * HASH_BYTES)
    return row && isEventRow(row) && commitment.length === HASH_BYTES ? formatLeaf(row, commitment) : undefined
  })
  return { entries: made, isWhole: commitments.length === width * HASH_BYTES }
}

/** Unlike `parseBundle`, also of what is cut or goes on. */
function splitEntries(bytes: Uint8Array, { width, isCut }: StoredBundle) {
  const entries: (Uint8Array | undefined)[] = []
  let at = 0
  while (entries.length < width && at + 2 <= bytes.length) {
    const start = at + 2
    const end = start + bytes[at]! * 256 + bytes[at + 1]!
    if (end > bytes.length) break
    entries.push(bytes.subarray(start, end))
    at = end
  }
  const isWhole = entries.length === width && at === bytes.length && !isCut
  while (entries.length < width) entries.push(undefined)
  return { entries, isWhole }
}

export function saltOf({ salts }: Pick<StoredRows, 'salts'>, n: number): Uint8Array | undefined {
  const salt = salts.subarray(n * SALT_BYTES, (n + 1) * SALT_BYTES)
  return salt.length === SALT_BYTES ? salt : undefined
}

/** The leaf that a row and its salt make; undefined when they make none. */
export function hashOfRow(row: FoundRow, salt: Uint8Array | undefined): Hash | undefined {
  return salt === undefined || !isEventRow(row) ? undefined : hashLeaf(formatLeaf(row, commit(salt, row)))
}

const ERASED_PRIVATE = formatPrivate(ERASED_COLUMNS)

/** The leaf of a row that was erased, which must be blank. */
export function hashOfErased(row: FoundRow, commitment: Hash): Hash | undefined {
  if (!isEventRow(row) || formatPrivate(row) !== ERASED_PRIVATE) return undefined
  return hashLeaf(formatLeaf(row, commitment))
}

/** Whether the columns have the types that a leaf is made of. */
export function isEventRow(row: FoundRow): row is FoundRow & EventRow {
  const texts = [row.date_time, row.action, row.severity, row.created_at, row.who, row.ip, row.description]
  const optional = [row.reason_code, row.request_id, row.endpoint, row.http_method, row.metadata_json]
  const isText = (value: unknown) => typeof value === 'string'
  return (
    Number.isSafeInteger(row.id) &&
    texts.every(isText) &&
    optional.every(value => value === null || isText(value)) &&
    (row.status_code === null || Number.isSafeInteger(row.status_code))
  )
}

/** Places of hashes that are cut off are undefined. */
function hashesIn(tile: Uint8Array, width: number): (Hash | undefined)[] {
  return Array.from({ length: width }, (_, n) => {
    const hash = tile.subarray(n * HASH_BYTES, (n + 1) * HASH_BYTES)
    return hash.length === HASH_BYTES ? hash : undefined
  })
}

function inserted(id: number, detail: string): Finding {
  return { verdict: 'INSERTED', at: { id }, detail }
}
