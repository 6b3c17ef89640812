/**
 * Judges a folder of archives without the log that they left: by the checkpoint, the keys and the proof in each manifest.
 *
 * The leaves of 256 events at a time are made of rows and salts, and compared with the hash that the manifest has of them; all
 * together make the tree before them grow to one that must be the beginning of the signed one. The two ways of getting there tell rows
 * that were changed from a manifest that was. Which of 256 rows it is, and whether an event that erased others says so, only
 * the log can tell (`--tiles`).
 */
import { counted } from '../../counted.ts'
import { areSameBytes, parseBase64Hash } from '../../evidence/encoding.ts'
import { isErasedSalt } from '../../evidence/leaf.ts'
import type { Hash } from '../../evidence/merkle.ts'
import { verifyConsistency } from '../../evidence/merkle-proof.ts'
import { growFrom } from '../../evidence/range-proof.ts'
import { TILE_WIDTH } from '../../evidence/tile.ts'
import { hashOfErased, hashOfRow, saltOf } from '../bundle.ts'
import { openChain, openSigned, readWitnesses, type SignedCheckpoint } from '../chain.ts'
import { manifestsToldBy } from '../records.ts'
import type { FoundRow, StoredRows } from '../source.ts'
import { rootOf } from '../subtree.ts'
import type { Finding } from '../verdict.ts'
import { type Report, type Trust, verdictOf } from '../verify.ts'
import { type ArchivedRange, type ArchiveRows, openArchiveRows, type StoredProof } from './archive-rows.ts'

export function verifyAlone(
  path: string,
  trust: Trust = {},
  onProgress: (done: number, total: number) => void = () => {},
): Report {
  using files = openArchiveRows(path)
  const findings: Finding[] = []
  const notes: string[] = []
  const total = files.ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0)
  const known = trust.trusted === undefined ? undefined : openSigned(trust.trusted, 'the trusted checkpoint', undefined)
  let done = 0
  const judged = files.ranges.map(range => {
    const rows = readRows(files, range, count => {
      done += count
      onProgress(done, total)
    })
    const found = judge(range, rows, trust, known?.checkpoint?.size)
    findings.push(...rows.findings, ...found.findings)
    return { range, rows, ...found }
  })
  findings.push(
    ...compareNeighbours(judged),
    ...checkTombstones(judged),
    ...findOlderCopies(judged),
    ...compareTrusted(judged, known),
  )
  const newest = judged.findLast(({ signed }) => signed?.isSigned === true)?.signed
  findings.push(...wantWitnesses(newest, trust), ...files.checkFiles())
  notes.push(...files.notes)
  const proven = judged.filter(({ isProven }) => isProven)
  if (trust.key === undefined && proven.length > 0) {
    notes.push('no --key was given: the key is the one in the archives, which proves no more than whoever wrote them')
  }
  for (const { rows } of judged) notes.push(...erasureNotes(rows))
  const checkpoints = new Set(proven.map(({ signed }) => signed?.checkpoint?.size)).size
  return {
    ...verdictOf(findings, `${total} archived events, ${checkpoints} signed checkpoints`),
    notes,
    origin: newest?.checkpoint?.origin,
    size: total,
    signed_size: proven.reduce((sum, { range: { first, last } }) => sum + last - first + 1, 0),
    root: undefined,
    checkpoints,
    signatures: newest?.algorithms ?? [],
    erased: judged.reduce((sum, { rows }) => sum + rows.erased.size, 0),
    archived: total,
  }
}

interface RowsRead {
  /** The roots of every 256 leaves, as rows and salts make them; undefined where they make none. */
  readonly bundles: readonly (Hash | undefined)[]
  /** Ids of those whose salt is gone, and the events that say so. */
  readonly erased: ReadonlyMap<number, number | undefined>
  /** Ids of rows that say that others were erased, with the manifests that they tell of by the numbers of their archives. */
  readonly tombstones: ReadonlyMap<number, ReadonlyMap<number, string>>
  readonly findings: readonly Finding[]
}

function readRows(files: ArchiveRows, range: ArchivedRange, onRows: (count: number) => void): RowsRead {
  const { first, last, erasures } = range
  const tellsOf = new Map(erasures.flatMap(({ event, ids }) => ids.map(id => [id, event] as const)))
  const findings: Finding[] = []
  const erased = new Map<number, number | undefined>()
  const tombstones = new Map<number, ReadonlyMap<number, string>>()
  const bundles: (Hash | undefined)[] = []
  const unsalted: number[] = []
  for (let id = first; id <= last; id += TILE_WIDTH) {
    const width = Math.min(TILE_WIDTH, last - id + 1)
    const stored = files.rows((id - 1) / TILE_WIDTH, width)
    const values = stored === undefined ? [] : valuesOf(stored, id, findings)
    const rows = new Map((values ?? []).map(row => [row.id, row]))
    const leaves = Array.from({ length: width }, (_, n) => {
      const row = rows.get(id + n)
      const salt = stored && saltOf(stored, n)
      if (row === undefined && values !== undefined) {
        findings.push({ verdict: 'DELETED', at: { id: id + n }, detail: 'It is not in the archive' })
      }
      if (row !== undefined && salt === undefined && unsalted.push(row.id) === 1) {
        findings.push({ verdict: 'EDITED', at: { id: row.id }, detail: 'Its salt is missing' })
      }
      if (row === undefined || salt === undefined) return undefined
      if (isTombstone(row)) tombstones.set(row.id, manifestsToldBy(textOrNull(row.metadata_json)))
      if (!isErasedSalt(salt)) return hashOfRow(row, salt)
      erased.set(row.id, tellsOf.get(row.id))
      const commitment = files.commitment(row.id)
      return commitment && hashOfErased(row, commitment)
    })
    for (const [n, { id }] of (values ?? []).entries()) {
      if (id === values?.[n - 1]?.id)
        findings.push({ verdict: 'INSERTED', at: { id }, detail: 'Its id is stored twice' })
    }
    bundles.push(rootOf(leaves))
    onRows(width)
  }
  for (const [id, event] of tellsOf) {
    if (!erased.has(id) && unsalted.length === 0)
      findings.push(without(id, `Event ${event} is said to have erased it, and it is there`))
  }
  for (const [id, event] of erased) {
    if (event === undefined) findings.push(without(id, 'Its salt is gone'))
    else if (event <= id) findings.push(without(id, `Event ${event}, which is said to tell of it, does not`))
  }
  return { bundles, erased, tombstones, findings }
}

/** Undefined when its block cannot be unpacked, which does not keep the others from being looked at. */
function valuesOf({ values }: StoredRows, id: number, findings: Finding[]): readonly FoundRow[] | undefined {
  try {
    return values()
  } catch (error) {
    const detail = `Its block cannot be read: ${(error as Error).message}`
    findings.push({ verdict: 'MALFORMED', at: { id }, detail })
    return undefined
  }
}

const textOrNull = (value: unknown) => (typeof value === 'string' ? value : null)

const isTombstone = ({ action, reason_code }: FoundRow) => action === 'SYSTEM' && reason_code === 'ERASED'

const without = (id: number, detail: string): Finding => ({ verdict: 'ERASED_WITHOUT_RECORD', at: { id }, detail })

interface Judged {
  readonly signed: SignedCheckpoint | undefined
  readonly isProven: boolean
  /** Of the trees before and behind the range, where they are proven; and of the trusted size. */
  readonly roots: ReadonlyMap<number, Hash>
  readonly findings: readonly Finding[]
}

function judge(range: ArchivedRange, rows: RowsRead, trust: Trust, trustedSize: number | undefined): Judged {
  const { number, first, last, proof } = range
  const { bundles } = rows
  const part = `archive ${number}`
  const nothing = { signed: undefined, isProven: false, roots: new Map() }
  if (proof === undefined) {
    const detail =
      'Its manifest has no proof, as it was written by an earlier version or nobody signed the log; --tiles names the log that its events left'
    return { ...nothing, findings: [{ verdict: 'UNVERIFIABLE', at: { part }, detail }] }
  }
  const opened = openChain(proof.keys, trust.key)
  const { verifiers: witnesses } = readWitnesses(trust.witnesses)
  const signed = openSigned(proof.checkpoint, `the checkpoint of ${part}`, opened.chain, witnesses)
  const findings: Finding[] = [...opened.findings, ...signed.findings]
  if (signed.checkpoint === undefined) return { ...nothing, signed, findings }
  const said = hashesOf(proof.bundles)
  const lead = (roots: readonly (Hash | undefined)[]) => leadsTo(range, proof, roots, signed)
  const made = lead(bundles) ?? (said && said.length === bundles.length ? lead(said) : undefined)
  if (made === undefined) {
    const detail = `Its events ${first} to ${last} do not lead to the checkpoint in its manifest, and nothing there says which of them`
    findings.push({ verdict: 'EDITED', at: { part }, detail })
    return { ...nothing, signed, findings }
  }
  const told = new Set(rows.findings.map(({ at }) => ('id' in at ? Math.floor((at.id - first) / TILE_WIDTH) : -1)))
  for (const [n, root] of made.entries()) {
    const id = first + n * TILE_WIDTH
    if (told.has(n)) continue
    const range = `${id} to ${id + TILE_WIDTH - 1}`
    if (!isSame(bundles[n], root)) {
      findings.push({
        verdict: 'EDITED',
        at: { id },
        detail: `This or another of the events ${range} is not that of its leaf`,
      })
    } else if (!isSame(said?.[n], root)) {
      findings.push({
        verdict: 'EDITED',
        at: { id },
        detail: `The hash of the events ${range} in the manifest is another`,
      })
    }
  }
  const roots = rootsAlong(range, proof, made, trustedSize)
  return { signed, isProven: signed.isSigned && findings.length === 0 && told.size === 0, roots, findings }
}

const isSame = (a: Hash | undefined, b: Hash | undefined) => a !== undefined && b !== undefined && areSameBytes(a, b)

function hashesOf(texts: readonly string[]): Hash[] | undefined {
  const hashes = texts.map(parseBase64Hash)
  return hashes.every(hash => hash !== undefined) ? hashes : undefined
}

/** The given roots of 256 leaves each, if these are what the checkpoint is of. */
function leadsTo(
  range: ArchivedRange,
  proof: StoredProof,
  roots: readonly (Hash | undefined)[],
  { checkpoint }: SignedCheckpoint,
): readonly Hash[] | undefined {
  const [tree, consistency] = [treeBefore(range, proof), hashesOf(proof.consistency)]
  if (tree === undefined || consistency === undefined || !roots.every(root => root !== undefined)) return undefined
  for (const root of roots) tree.append(root)
  return verifyConsistency({ size: range.last, root: tree.root() }, checkpoint!, consistency) ? roots : undefined
}

/** In units of 256 leaves: a range begins and ends with a bundle, so all subtrees on the way are at least that high. */
function treeBefore({ first }: ArchivedRange, { edge }: StoredProof) {
  const hashes = hashesOf(edge)
  return hashes && growFrom((first - 1) / TILE_WIDTH, hashes)
}

function rootsAlong(
  range: ArchivedRange,
  proof: StoredProof,
  bundles: readonly Hash[],
  trustedSize: number | undefined,
): Map<number, Hash> {
  const tree = treeBefore(range, proof)!
  const roots = new Map([[range.first - 1, tree.root()]])
  for (const bundle of bundles) {
    tree.append(bundle)
    if (tree.size * TILE_WIDTH === trustedSize) roots.set(trustedSize, tree.root())
  }
  return roots.set(range.last, tree.root())
}

/** Where one archive ends and the next begins, both have proven the same tree, or there are two logs. */
function* compareNeighbours(judged: readonly (Judged & { readonly range: ArchivedRange })[]): Generator<Finding> {
  const roots = new Map<number, Hash>()
  for (const { range, signed, roots: own } of judged) {
    const all = [...own]
    if (signed?.isSigned === true) all.push([signed.checkpoint!.size, signed.checkpoint!.root])
    for (const [size, root] of all) {
      const before = roots.get(size)
      if (before === undefined) roots.set(size, root)
      else if (!areSameBytes(before, root)) {
        yield {
          verdict: 'FORKED',
          at: { size },
          detail: `Archive ${range.number} is of another history than one before it`,
        }
      }
    }
  }
}

/** An archive is the one that the last erasure in these archives tells of, or was written anew by a later one. */
function* findOlderCopies(
  judged: readonly { readonly range: ArchivedRange; readonly rows: RowsRead }[],
): Generator<Finding> {
  const told = judged.flatMap(({ rows }) => [...rows.tombstones]).sort(([a], [b]) => a - b)
  for (const { range } of judged) {
    const [event = 0, manifests] = told.findLast(([, manifests]) => manifests.has(range.number)) ?? []
    if (manifests === undefined || manifests.get(range.number) === range.digest) continue
    if (range.erasures.some(erasure => erasure.event > event)) continue
    const detail = `Event ${event}, an erasure, tells of another one: this may be older, with what was erased still in it`
    yield { verdict: 'EDITED', at: { part: `the manifest of archive ${range.number}` }, detail }
  }
}

/** A tombstone that is in one of the archives must be there. */
function* checkTombstones(
  judged: readonly { readonly range: ArchivedRange; readonly rows: RowsRead }[],
): Generator<Finding> {
  for (const { rows } of judged) {
    for (const [id, event] of rows.erased) {
      const holder = judged.find(({ range }) => event !== undefined && event >= range.first && event <= range.last)
      if (holder !== undefined && !holder.rows.tombstones.has(event!)) {
        yield without(id, `Event ${event}, which is said to tell of it, does not`)
      }
    }
  }
}

function* compareTrusted(judged: readonly Judged[], known: SignedCheckpoint | undefined): Generator<Finding> {
  if (known === undefined) return
  const { checkpoint } = known
  if (checkpoint === undefined) {
    yield* known.findings
    return
  }
  const { size, root } = checkpoint
  const roots = judged.flatMap(({ roots, signed }) => {
    const own = signed?.isSigned === true && signed.checkpoint?.size === size ? [signed.checkpoint.root] : []
    return [...own, ...(roots.has(size) ? [roots.get(size)!] : [])]
  })
  if (roots.some(found => !areSameBytes(found, root))) {
    yield { verdict: 'FORKED', at: { size }, detail: 'The archives are of another history' }
  } else if (roots.length === 0) {
    const detail = 'No archive has a tree of its size; --tiles names a log that has'
    yield { verdict: 'UNVERIFIABLE', at: { size }, detail }
  }
}

function* wantWitnesses(newest: SignedCheckpoint | undefined, { witnesses, quorum }: Trust): Generator<Finding> {
  if (newest === undefined) return
  const { count, findings } = readWitnesses(witnesses)
  yield* findings
  const wanted = quorum ?? count
  if (newest.cosignatures >= wanted) return
  const detail = `${newest.cosignatures} of ${count} witnesses have signed it, and ${wanted} are wanted`
  yield { verdict: 'NOT_WITNESSED', at: { size: newest.checkpoint!.size }, detail }
}

function* erasureNotes({ erased }: RowsRead): Generator<string> {
  for (const [event, of] of Map.groupBy(erased, ([, event]) => event)) {
    if (event !== undefined) yield `${counted(of.length, 'event was erased', 'events were erased')} by event ${event}`
  }
}
