/**
 * The verifier: decides whether what a source holds is what was signed.
 *
 * Promise: PRISTINE only if every row is the one of its leaf and every leaf has its row, if the tree over the leaves is the one in
 * every signed checkpoint, each signed by a key that might, and if what was erased or archived is on record in the log itself.
 * Anything else is a finding, with the first bad place. Trusts SHA-256, Ed25519, ML-DSA-44 and the key that it was given; nothing else.
 *
 * One pass over the leaves, in ranges that the source may check side by side; memory does not grow with the log. Must not import
 * what it judges (store, log, HTTP), nor Node: the same engine runs in browsers.
 */
import { counted } from '../counted.ts'
import { areSameBytes, formatBase64, HASH_BYTES, joinBytes } from '../evidence/encoding.ts'
import type { Hash } from '../evidence/merkle.ts'
import { countAt, parseHashTile, TILE_WIDTH, tileAt } from '../evidence/tile.ts'
import { type Anchor, type Candidate, type Candidates, createCandidates } from './authority.ts'
import { type KeyChain, openChain, openSigned, readHistory, readWitnesses, type SignedCheckpoint } from './chain.ts'
import { type BadRow, classifyRows } from './classify.ts'
import { compareBundle } from './compare.ts'
import { checkArchives, checkErasures, checkHandOvers } from './records.ts'
import type { BundleRange, ErasureClaim, EvidenceSource, Head, OddBundle, RangeReport } from './source.ts'
import { compareFindings, type Finding, sentenceOf, VERDICTS, type VerdictCode, type VerdictExit } from './verdict.ts'

/** What the auditor brings along. Texts as they are in files. */
export interface Trust {
  /** Verifier key of the log, or several, a line each. Without it the source's own key chain is believed. */
  readonly key?: string | undefined
  /** A signed checkpoint that is known from before. */
  readonly trusted?: string | undefined
  /** Verifier keys of witnesses, and how many of them must have signed a checkpoint: the newest, or the one kept as witnessed. */
  readonly witnesses?: readonly string[] | undefined
  readonly quorum?: number | undefined
}

export interface Report {
  readonly verdict: VerdictCode
  readonly exit: VerdictExit
  readonly sentence: string
  /** The first is the verdict. Not all there are: after a cut or a shift, what is behind it is not looked at one by one. */
  readonly findings: readonly (Finding & { readonly sentence: string })[]
  /** What an auditor should know and what is not wrong. */
  readonly notes: readonly string[]
  readonly origin: string | undefined
  /** Leaves. */
  readonly size: number
  /** Leaves under the newest valid checkpoint. */
  readonly signed_size: number
  /** Base64, of the tree of all leaves. */
  readonly root: string | undefined
  /** Valid ones, of different sizes. */
  readonly checkpoints: number
  /** Those by which the log signed the newest valid one: `Ed25519`, `ML-DSA-44`. */
  readonly signatures: readonly string[]
  readonly erased: number
  readonly archived: number
}

export interface VerifyOptions {
  readonly onProgress?: (done: number, total: number) => void
}

const RANGE_BUNDLES = 64
const RANGES_AHEAD = 16

export async function verify(source: EvidenceSource, trust: Trust = {}, options: VerifyOptions = {}): Promise<Report> {
  const { overview } = source
  const notes: string[] = []
  const signed = readSigned(source, trust)
  const findings: Finding[] = [...signed.findings]
  notes.push(...signed.notes, ...(overview.notes ?? []))
  const size = overview.head?.size ?? sizeOf(signed)
  const anchors = signed.anchors.filter(anchor => anchor.size <= size)
  const sizes = [...new Set([...anchors.map(anchor => anchor.size), size])].sort((a, b) => a - b)

  const seen = await readLeaves(source, size, sizes, options)
  const head: Anchor[] = overview.head === undefined ? [] : [overview.head]
  const right = seen.candidates.choose([...anchors.slice(0, -1), ...head, ...anchors.slice(-1)])

  for (const anchor of anchors) findings.push(...compareAnchor(anchor, seen.candidates, right))
  if (overview.head !== undefined) findings.push(...compareHead(overview.head, seen.candidates, right))
  findings.push(...compareUpper(source, size, seen.candidates, right))
  const compared = compareOdd(source, seen, right)
  findings.push(...compared.findings, ...seen.findings.filter(finding => !isOfBadRow(finding, compared.bad)))
  notes.push(...compared.notes)
  findings.push(...(await source.lookFurther()))
  if (overview.rows !== undefined) {
    const rows = [...overview.rows.records, ...seen.records.filter(record => 'metadata' in record)]
    const entries = seen.records.filter(record => !('metadata' in record))
    const records = { rows, entries, bad: compared.bad, size }
    findings.push(...checkErasures(seen.erased, overview.rows, records), ...checkArchives(overview.rows, records))
    if (signed.chain !== undefined && overview.keys !== undefined)
      findings.push(...checkHandOvers(signed.chain, records))
    notes.push(...archiveNotes(source), ...erasureNotes(overview.rows.erasures))
  }
  for (const id of seen.unknown) {
    findings.push({
      verdict: 'UNVERIFIABLE',
      at: { id },
      detail: 'Its leaf is of a later version than this program knows',
    })
  }
  const signedSize = signed.newest?.isSigned === true ? (signed.newest.checkpoint?.size ?? 0) : 0
  if (signedSize + 1 === size) notes.push(`event ${size} is not signed yet`)
  else if (signedSize < size) notes.push(`events ${signedSize + 1} to ${size} are not signed yet`)
  const root = seen.candidates.root(right, size)
  const checkpoints = new Set(signed.anchors.filter(({ kind }) => kind === 'signed').map(anchor => anchor.size)).size
  return {
    ...verdictOf(findings, `${counted(size, 'event')}, ${counted(checkpoints, 'signed checkpoint')}`),
    notes,
    origin: signed.chain?.origin,
    size,
    signed_size: Math.min(signedSize, size),
    root: root && formatBase64(root),
    checkpoints,
    signatures: signed.newest?.algorithms ?? [],
    erased: seen.erased.length,
    archived: (overview.rows?.archives ?? []).reduce((sum, { first, last }) => sum + last - first + 1, 0),
  }
}

/** The verdict of some findings; none: pristine. @param what was looked at */
export function verdictOf(
  found: readonly Finding[],
  what: string,
): Pick<Report, 'verdict' | 'exit' | 'sentence' | 'findings'> {
  const findings = [...found].sort(compareFindings).map(finding => ({ ...finding, sentence: sentenceOf(finding) }))
  const verdict = findings[0]?.verdict ?? 'PRISTINE'
  return {
    verdict,
    exit: VERDICTS[verdict].exit,
    sentence: findings[0]?.sentence ?? VERDICTS.PRISTINE.sentence(what),
    findings,
  }
}

/** Of what cannot be read at all. @param detail as in a finding */
export function unreadableReport(detail: string): Report {
  return {
    ...verdictOf([{ verdict: 'MALFORMED', at: { part: 'what is to be verified' }, detail }], ''),
    notes: [],
    origin: undefined,
    size: 0,
    signed_size: 0,
    root: undefined,
    checkpoints: 0,
    signatures: [],
    erased: 0,
    archived: 0,
  }
}

interface Signed {
  readonly chain: KeyChain | undefined
  readonly newest: SignedCheckpoint | undefined
  /** Valid ones, the newest last. */
  readonly anchors: readonly (Anchor & { readonly kind: 'trusted' | 'signed' })[]
  readonly findings: readonly Finding[]
  readonly notes: readonly string[]
}

/** Of a log without a head: none, where the log did not sign what says so. Tiles are those of that size alone. */
function sizeOf({ newest }: Signed): number {
  return newest === undefined || newest.findings.length > 0 ? 0 : (newest.checkpoint?.size ?? 0)
}

/** Everything that is signed: by whom, and whether these are one history by their sizes. */
function readSigned({ overview }: EvidenceSource, trust: Trust): Signed {
  const opened = openChain(overview.keys, trust.key)
  const { chain } = opened
  const findings: Finding[] = [...opened.findings]
  const notes: string[] = []
  if (trust.key === undefined && chain !== undefined) {
    notes.push(
      `no --key was given: the key is the one that lies beside the log, which proves no more than whoever put it there`,
    )
  }
  const { verifiers: witnesses, count, findings: unreadable } = readWitnesses(trust.witnesses)
  findings.push(...unreadable)

  const history = readHistory(overview.history ?? '')
  findings.push(...history.findings)
  const older = history.notes.map((text, n) => openSigned(text, `line ${n + 1} of the history of checkpoints`, chain))
  const current =
    overview.checkpoint === undefined
      ? undefined
      : openSigned(overview.checkpoint, 'the newest checkpoint', chain, witnesses)
  const newest = current ?? older.at(-1)
  for (const { findings: faults } of current === undefined ? older : [...older, current]) findings.push(...faults)
  // Where nothing was signed yet, that no key is known either is not what is to be said first.
  if (current === undefined) findings.unshift(...withoutCheckpoint(older.length))
  findings.push(...orderOf(older, newest, overview.head))

  const kept =
    overview.witnessed === undefined
      ? undefined
      : openSigned(overview.witnessed, 'the witnessed checkpoint', chain, witnesses)
  if (newest?.isSigned === true) {
    const witnessed = compareWitnessed(newest, kept, trust.quorum ?? count, count)
    findings.push(...witnessed.findings)
    notes.push(...witnessed.notes)
  }
  const trusted = trust.trusted === undefined ? undefined : openSigned(trust.trusted, 'the trusted checkpoint', chain)
  findings.push(...(trusted?.findings ?? []))
  const known = trusted?.checkpoint
  const size = overview.head?.size ?? newest?.checkpoint?.size ?? 0
  if (known !== undefined && known.size > Math.min(size, newest?.checkpoint?.size ?? 0)) {
    findings.push({ verdict: 'ROLLED_BACK', at: { size: known.size }, detail: 'It was known before' })
  }
  const anchors = [
    ...(known === undefined ? [] : [{ size: known.size, root: known.root, kind: 'trusted' as const }]),
    ...[...older, kept, current]
      .filter(signed => signed !== undefined)
      .flatMap(({ checkpoint, isSigned }) =>
        isSigned && checkpoint !== undefined
          ? [{ size: checkpoint.size, root: checkpoint.root, kind: 'signed' as const }]
          : [],
      ),
  ]
  return { chain, newest, anchors, findings, notes }
}

/** The newest one is mostly too young for its cosignatures; then the one counts that was kept with them. */
function compareWitnessed(newest: SignedCheckpoint, kept: SignedCheckpoint | undefined, quorum: number, of: number) {
  const findings: Finding[] = [...(kept?.findings ?? [])]
  const { size } = newest.checkpoint!
  const keptSize = kept?.isSigned === true ? kept.checkpoint!.size : 0
  if (keptSize > size) {
    const detail = `It is kept as witnessed, and the newest one is of size ${size}`
    findings.push({ verdict: 'ROLLED_BACK', at: { size: keptSize }, detail })
  }
  if (newest.cosignatures >= quorum) return { findings, notes: [] }
  if (keptSize > 0 && kept!.cosignatures >= quorum) {
    return { findings, notes: [`events ${keptSize + 1} to ${size} are signed, and not witnessed yet`] }
  }
  const detail = `${newest.cosignatures} of ${of} witnesses have signed it, and ${quorum} are wanted`
  findings.push({ verdict: 'NOT_WITNESSED', at: { size }, detail })
  return { findings, notes: [] }
}

function withoutCheckpoint(older: number): Finding[] {
  if (older > 0) return [{ verdict: 'DELETED', at: { part: 'the newest checkpoint' }, detail: 'Older ones are there' }]
  return [{ verdict: 'UNVERIFIABLE', at: { part: 'the log' }, detail: 'No checkpoint was signed yet' }]
}

/** Checkpoints ascend by size, the newest is not behind an older one, and none is beyond the log. */
function* orderOf(
  older: readonly SignedCheckpoint[],
  newest: SignedCheckpoint | undefined,
  head: Head | undefined,
): Generator<Finding> {
  const sizes = older.flatMap(({ checkpoint, isSigned }) => (isSigned ? [checkpoint!.size] : []))
  for (const [n, size] of sizes.entries()) {
    if (size < (sizes[n - 1] ?? 0)) yield { verdict: 'FORKED', at: { size }, detail: 'It follows on a larger one' }
  }
  const largest = Math.max(0, ...sizes.slice(-1))
  const newestSize = newest?.isSigned === true ? newest.checkpoint!.size : undefined
  if (newestSize !== undefined && newestSize < largest) {
    yield {
      verdict: 'ROLLED_BACK',
      at: { size: largest },
      detail: `It is in the history, and the newest one is of size ${newestSize}`,
    }
  }
  const signedSize = Math.max(largest, newestSize ?? 0)
  if (head !== undefined && signedSize > head.size) {
    yield { verdict: 'TRUNCATED', at: { id: head.size + 1 }, detail: `The log was signed up to event ${signedSize}` }
  }
}

interface Leaves {
  readonly candidates: Candidates
  readonly odd: readonly OddBundle[]
  readonly erased: readonly number[]
  readonly unknown: readonly number[]
  readonly records: RangeReport['records']
  readonly findings: readonly Finding[]
}

async function readLeaves(
  source: EvidenceSource,
  size: number,
  sizes: readonly number[],
  { onProgress = () => {} }: VerifyOptions,
): Promise<Leaves> {
  const candidates = createCandidates(size, sizes)
  const odd: OddBundle[] = []
  const erased: number[] = []
  const unknown: number[] = []
  const records: RangeReport['records'][number][] = []
  const findings: Finding[] = []
  for await (const report of reportsInOrder(source, rangesOf(size, sizes))) {
    candidates.add(report)
    odd.push(...report.odd)
    for (const id of report.erased) erased.push(id)
    unknown.push(...report.unknown.slice(0, 1))
    records.push(...report.records)
    findings.push(...report.findings)
    onProgress(Math.min(size, report.first * TILE_WIDTH + (report.roots.length / HASH_BYTES) * TILE_WIDTH), size)
  }
  return { candidates, odd, erased, unknown, records, findings }
}

function* rangesOf(size: number, sizes: readonly number[]): Generator<BundleRange> {
  const bundles = Math.ceil(size / TILE_WIDTH)
  let next = 0
  for (let first = 0; first < bundles; first += RANGE_BUNDLES) {
    const end = Math.min(first + RANGE_BUNDLES, bundles)
    const within: number[] = []
    for (; next < sizes.length && sizes[next]! <= end * TILE_WIDTH; next++) within.push(sizes[next]!)
    yield { first, end, size, sizes: within }
  }
}

/** Ranges ahead of the one that is waited for, so that no worker waits for another; none where there are no workers. */
async function* reportsInOrder(source: EvidenceSource, ranges: Iterable<BundleRange>): AsyncGenerator<RangeReport> {
  const running: Promise<RangeReport>[] = []
  for (const range of ranges) {
    const report = source.checkRange(range)
    report.catch(() => {}) // it is awaited later
    running.push(report)
    if (running.length >= Math.max(1, RANGES_AHEAD * source.parallel)) yield await running.shift()!
  }
  for (const report of running) yield await report
}

function* compareAnchor({ size, root }: Anchor, candidates: Candidates, right: Candidate): Generator<Finding> {
  const own = candidates.root(right, size)
  if (own !== undefined && areSameBytes(own, root)) return
  yield { verdict: 'FORKED', at: { size }, detail: 'The tree of the leaves that are there has another root' }
}

function* compareHead({ size, root, edge }: Head, candidates: Candidates, right: Candidate): Generator<Finding> {
  const at = { part: 'the head of the log' }
  const own = candidates.root(right, size)
  if (own === undefined || !areSameBytes(own, root)) {
    yield { verdict: 'EDITED', at, detail: `Its root is not that of the ${size} leaves` }
  }
  const hashes = candidates.edge(right)
  if (hashes === undefined || !areSameBytes(joinBytes(...hashes), edge)) {
    yield { verdict: 'EDITED', at, detail: 'Its subtrees are not those of the leaves' }
  }
}

/** Tiles of level 2 and above: those of level 1 have been compared with each bundle. */
function* compareUpper(
  source: EvidenceSource,
  size: number,
  candidates: Candidates,
  right: Candidate,
): Generator<Finding> {
  for (let level = 2; countAt(level, size) > 0; level++) {
    const expected = candidates.upper(right, level)
    for (let index = 0; ; index++) {
      const tile = tileAt(level, index, size)
      if (tile === undefined) break
      const first = index * TILE_WIDTH
      const bytes = source.readTile(tile)
      const stored = bytes && parseHashTile(bytes, tile.width)
      const n =
        stored === undefined ? 0 : stored.findIndex((hash: Hash, n) => !areSameBytes(hash, expected[first + n]!))
      if (n < 0) continue
      const at = { id: (first + n) * TILE_WIDTH ** level + 1 }
      if (bytes === undefined)
        yield { verdict: 'DELETED', at, detail: `The tile ${level}/${index} above it is missing` }
      else yield { verdict: 'EDITED', at, detail: `The tile ${level}/${index} above it is another` }
    }
  }
}

function compareOdd({ overview }: EvidenceSource, { odd }: Leaves, right: Candidate) {
  const findings: Finding[] = []
  const bad: BadRow[] = []
  let lagging = 0
  for (const bundle of odd) {
    const compared = compareBundle(bundle, right, overview.head?.syncedSize ?? Number.POSITIVE_INFINITY)
    findings.push(...compared.findings)
    bad.push(...compared.bad)
    if (compared.lagging) lagging++
  }
  if (overview.rows !== undefined) findings.push(...classifyRows(bad, overview.rows))
  const notes =
    lagging === 0
      ? []
      : [`${lagging} of the newest bundles are not on disk yet; the next start makes them of their rows`]
  return { findings, notes, bad: new Set(bad.map(({ id }) => id)) }
}

/** A row that was changed is also not where queries look for what it says now. */
function isOfBadRow({ verdict, at }: Finding, bad: ReadonlySet<number>): boolean {
  return verdict === 'HIDDEN' && 'id' in at && bad.has(at.id)
}

function* erasureNotes(erasures: readonly ErasureClaim[]): Generator<string> {
  for (const [tombstone, of] of Map.groupBy(erasures, claim => claim.tombstone)) {
    yield `${counted(of.length, 'event was erased', 'events were erased')} by event ${tombstone}`
  }
}

/** Of archives that lie where they were written to, the manifests are looked at, and the rows only if it is them that are verified. */
function* archiveNotes({ overview }: EvidenceSource): Generator<string> {
  const archives = overview.rows?.archives ?? []
  const absent = archives.filter(({ foundSha256 }) => foundSha256 === undefined).length
  const present = overview.kind === 'archive' ? 0 : archives.length - absent
  if (absent > 0)
    yield `the rows of ${counted(absent, 'archive')} are not here: verify ${absent === 1 ? 'it' : 'those'} beside this log, by --tiles`
  if (present > 0)
    yield `the rows of ${counted(present, 'archive')} were not read: verify the folder that ${present === 1 ? 'it lies' : 'these lie'} in, too`
}
