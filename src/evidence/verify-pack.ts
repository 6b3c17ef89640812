/**
 * Checks an evidence pack, believing nothing in it but the key that signed it; and that one too, if keys are given to compare.
 *
 * Everything is recomputed from the events up: commitment, leaf, inclusion proof, checkpoint, key chain; then whether the
 * manifest tells the same, and whether the log signed it. Every problem is named, with the event that it is about. That the pack
 * holds every event that was asked for rests on that signature: only the whole log shows that nothing was left out.
 */
import { LIMITS } from '../limits.ts'
import { type Checkpoint, openCheckpoint, parseCheckpoint } from './checkpoint.ts'
import { sha256 } from './crypto.ts'
import { decodeText, formatHex, parseDecimal } from './encoding.ts'
import { allKeys, type KeyChain, keyOfSize, openByChain, parseKeyChain } from './key-chain.ts'
import { commit, ERASED_COLUMNS, type EventRow, formatLeaf, formatPrivate } from './leaf.ts'
import { type Hash, hashLeaf } from './merkle.ts'
import { verifyInclusion } from './merkle-proof.ts'
import { formatVerifierKey, parseNote, SIGNATURE_TYPE, type VerifiedSignature, type VerifierKey } from './note.ts'
import {
  PACK_FILES,
  PACK_MANIFEST,
  PACK_NOTE,
  PACK_PAGE,
  PACK_PARTS,
  type PackManifest,
  type PackProof,
  parseManifest,
  parsePackProof,
  parseRow,
} from './pack.ts'
import { checkPackNote } from './pack-note.ts'
import { isPageOf } from './pack-page.ts'
import { algorithmOf, createVerifier } from './signature.ts'

/** What can be wrong, in words that follow the name of a file or an event. */
export const PACK_FAULTS = {
  missing: 'is missing from the pack',
  unexpected: 'does not belong into the pack',
  malformed: 'cannot be read: it was changed or cut',
  changed: 'holds data that was changed after the pack was made',
  'unknown-version': 'was written by a later version of the software: use the page of that version',
  'wrong-digest': 'is not as it was when the pack was made (SHA-256 differs from the manifest)',
  'broken-chain': 'does not hold a chain of keys in which each key signed for the next one',
  'wrong-signature': 'is not signed by the key of the log: it was changed, or made by somebody else',
  'missing-signature': 'lacks one of the two signatures that the log has announced: it was removed, or never made',
  'revoked-key': 'is signed by a key that was no longer allowed to sign a log of this size',
  'other-key': 'was signed with another key than the one you were given',
  'other-page': 'is not the page that this pack was made with: do not believe what it shows',
  'not-signed-for': 'is not what the log signed: what was asked for, or what was found, was changed afterwards',
  'no-event': 'is missing from the pack, though its proof is there',
  'no-proof': 'has no proof in the pack',
  'not-logged': 'is not the event that was logged: the event or its proof was changed',
  'other-checkpoint': 'tells of another log, or of another size of it, than the checkpoint',
  'not-asked-for': 'lies outside of what the manifest says was asked for',
  'wrong-count': 'does not hold as many events as the manifest says',
  'out-of-order': 'is out of order, or there twice',
} as const
export type PackFault = keyof typeof PACK_FAULTS

export interface PackProblem {
  readonly part: string
  readonly fault: PackFault
  /** Of the event that it is about. */
  readonly id?: number
}

export interface CheckedEvent {
  readonly row: EventRow
  readonly isErased: boolean
  /** Its content is what the signed checkpoint stands for. */
  readonly isProven: boolean
}

export interface PackReport {
  readonly problems: readonly PackProblem[]
  /** Those that could be read, in the order of the file. */
  readonly events: readonly CheckedEvent[]
  readonly manifest: PackManifest | undefined
  /** Undefined when it is not signed as it should be. */
  readonly checkpoint: Checkpoint | undefined
  /** The key that signed it, by the chain. */
  readonly signer: VerifierKey | undefined
  /** Of the signatures of the log that were verified: `Ed25519`, `ML-DSA-44`. */
  readonly algorithms: readonly string[]
  readonly chain: KeyChain | undefined
  /** Whether the log says that the manifest has what was asked for and found; `unsigned`: nobody does, which is no problem of a file. */
  readonly selection: 'signed' | 'unsigned' | 'wrong'
  /** Whether one of the keys given is of this log. */
  readonly key: 'not-compared' | 'given' | 'other'
  /** By witnesses whose keys were given. */
  readonly cosignatures: readonly VerifiedSignature[]
  /** Names of all who signed beside the log, verified or not. */
  readonly cosigners: readonly string[]
}

const EVENTS_PER_STEP = 250

export interface PackProgress {
  readonly done: number
  readonly total: number
}

/**
 * In steps, so that whoever verifies can do something else in between; each yields how many events are checked.
 * @param given keys that are known from elsewhere: of the log (any of its chain) and of witnesses
 */
export function* verifyPack(
  files: ReadonlyMap<string, Uint8Array>,
  given: readonly VerifierKey[] = [],
): Generator<PackProgress, PackReport> {
  const problems: PackProblem[] = []
  const note = (part: string, fault: PackFault, id?: number) =>
    void problems.push({ part, fault, ...(id === undefined ? {} : { id }) })

  const manifest = checkManifest(files, note)
  const changed = checkFiles(files, manifest, note)
  const signed = checkCheckpoint(files, given, note)
  const selection = checkSelection(files, signed.chain, note)
  checkPage(files, manifest, note)
  const lines = linesOf(files.get('events.ndjson'))
  const proofs = indexProofs(files, lines, note)
  // Both have to fit each other; the digests say which of them was changed.
  const isProofChanged = changed.has('proofs.ndjson') && !changed.has('events.ndjson')
  const events: CheckedEvent[] = []
  let last = 0
  for (let n = 0; n < lines.count; n++) {
    if (n % EVENTS_PER_STEP === 0) yield { done: n, total: lines.count }
    const row = parseRow(lines.line(n))
    if (row === undefined) {
      note('events.ndjson', 'malformed', proofs.takeLine(n))
      continue
    }
    if (row.id <= last) note('events.ndjson', 'out-of-order', row.id)
    last = row.id
    const line = proofs.take(row.id)
    const proof = line === undefined ? undefined : parsePackProof(line)
    if (line === undefined && isProofChanged && proofs.count > 0) note('proofs.ndjson', 'missing', row.id)
    else if (line === undefined && proofs.count > 0) note('events.ndjson', 'no-proof', row.id)
    else if (line !== undefined && proof === undefined) note('proofs.ndjson', 'malformed', row.id)
    const fault = signed.checkpoint && proof && faultOf(row, proof, signed.checkpoint)
    if (fault !== undefined) note(isProofChanged ? 'proofs.ndjson' : 'events.ndjson', fault, row.id)
    if (manifest !== undefined && !isAskedFor(row, manifest)) note('events.ndjson', 'not-asked-for', row.id)
    const isProven = signed.checkpoint !== undefined && proof !== undefined && fault === undefined
    events.push({ row, isErased: proof !== undefined && !('salt' in proof.opening), isProven })
  }
  for (const id of lines.count > 0 ? proofs.left() : []) {
    if (isProofChanged) note('proofs.ndjson', 'unexpected', id)
    else note('events.ndjson', 'no-event', id)
  }
  if (manifest !== undefined) {
    const erased = events.filter(({ isErased }) => isErased).length
    if (lines.count !== manifest.events) note('events.ndjson', 'wrong-count')
    if (proofs.count !== manifest.events || erased !== manifest.erased) note('proofs.ndjson', 'wrong-count')
    if (signed.size !== undefined && signed.size !== manifest.tree_size) note(PACK_MANIFEST, 'other-checkpoint')
    if (signed.chain !== undefined && signed.chain.first.name !== manifest.origin)
      note(PACK_MANIFEST, 'other-checkpoint')
  }
  const { size: _size, ...found } = signed
  return { problems, events, manifest, selection, ...found }
}

type Note = (part: string, fault: PackFault, id?: number) => void

function checkManifest(files: ReadonlyMap<string, Uint8Array>, note: Note): PackManifest | undefined {
  const bytes = files.get(PACK_MANIFEST)
  const manifest = bytes === undefined ? 'missing' : parseManifest(bytes)
  if (typeof manifest === 'object') return manifest
  note(PACK_MANIFEST, manifest)
  return undefined
}

function checkPage(files: ReadonlyMap<string, Uint8Array>, manifest: PackManifest | undefined, note: Note): void {
  const page = files.get(PACK_PAGE)
  if (page === undefined || manifest === undefined) return
  if (!isPageOf(page, files.get(PACK_MANIFEST)!, manifest.page_sha256)) note(PACK_PAGE, 'other-page')
}

/** Which parts are not as the manifest says. */
function checkFiles(
  files: ReadonlyMap<string, Uint8Array>,
  manifest: PackManifest | undefined,
  note: Note,
): ReadonlySet<string> {
  const changed = new Set<string>()
  for (const part of PACK_PARTS) {
    const bytes = files.get(part)
    const said = manifest?.files[part]
    if (bytes === undefined) note(part, 'missing')
    else if (said !== undefined && (said.bytes !== bytes.length || said.sha256 !== formatHex(sha256(bytes)))) {
      note(part, 'wrong-digest')
      changed.add(part)
    }
  }
  for (const name of files.keys()) if (!PACK_FILES.has(name)) note(name, 'unexpected')
  return changed
}

function checkCheckpoint(files: ReadonlyMap<string, Uint8Array>, given: readonly VerifierKey[], note: Note) {
  const text = decodeText(files.get('checkpoint') ?? new Uint8Array())
  const parsed = parseNote(text ?? '')
  const said = parsed && parseCheckpoint(parsed.text)
  const chain = parseKeyChain(decodeText(files.get('keys') ?? new Uint8Array()) ?? '')
  if (files.has('keys') && chain === undefined) note('keys', 'broken-chain')
  if (files.has('checkpoint') && said === undefined) note('checkpoint', 'malformed')
  const size = said?.size
  const signer = chain && size !== undefined ? keyOfSize(chain, size) : undefined
  const key = compareKeys(given, chain)
  if (key === 'other') note('keys', 'other-key')
  const cosigners = (parsed?.signatures ?? []).map(({ name }) => name).filter(name => name !== chain?.first.name)
  const found = { chain, size, signer, key, cosigners }
  if (chain === undefined || signer === undefined || text === undefined)
    return { ...found, checkpoint: undefined, algorithms: [], cosignatures: [] }

  const witnesses = given.filter(key => !isKeyOfLog(key, chain)).map(createVerifier)
  const opened = openByChain(text, chain, witnesses)
  if (opened.isTrusted) {
    const { checkpoint, signatures, cosignatures } = opened
    return { ...found, checkpoint, algorithms: signatures.map(({ key }) => algorithmOf(key)), cosignatures }
  }
  const isRevoked = openCheckpoint(text, {
    origin: chain.first.name,
    log: allKeys(chain).map(createVerifier),
  }).isTrusted
  const isMissing = opened.reason === 'missing-signature'
  note('checkpoint', isMissing ? opened.reason : isRevoked ? 'revoked-key' : 'wrong-signature')
  return { ...found, checkpoint: undefined, algorithms: [], cosignatures: [] }
}

/** Each key of a chain vouches for its neighbours, so whoever knows one of them knows that the others are of this log. */
function compareKeys(given: readonly VerifierKey[], chain: KeyChain | undefined): PackReport['key'] {
  const ofLogs = given.filter(key => isKeyOfLog(key, chain))
  if (ofLogs.length === 0) return 'not-compared'
  const own = new Set(chain && allKeys(chain).map(formatVerifierKey))
  const isOwn = (key: VerifierKey) => own.has(formatVerifierKey(key))
  const isOther = ofLogs.some(key => key.type !== SIGNATURE_TYPE.ed25519 && !isOwn(key)) // it names this log and no other
  return !isOther && ofLogs.some(isOwn) ? 'given' : 'other'
}

/** An ML-DSA-44 key may be one of a witness as well. */
function isKeyOfLog({ type, name }: VerifierKey, chain: KeyChain | undefined): boolean {
  return type === SIGNATURE_TYPE.ed25519 || name === chain?.first.name
}

function checkSelection(
  files: ReadonlyMap<string, Uint8Array>,
  chain: KeyChain | undefined,
  note: Note,
): PackReport['selection'] {
  const [signed, manifest] = [files.get(PACK_NOTE), files.get(PACK_MANIFEST)]
  if (signed === undefined) return 'unsigned'
  if (manifest === undefined || chain === undefined) return 'wrong' // told already
  const verdict = checkPackNote(decodeText(signed) ?? '', manifest, chain)
  if (verdict === 'signed') return 'signed'
  if (verdict === 'other-manifest') note(PACK_MANIFEST, 'not-signed-for')
  else note(PACK_NOTE, verdict)
  return 'wrong'
}

interface Lines {
  /** One more than may be, at most. */
  readonly count: number
  line(n: number): string
}

/** Kept as bytes, as all of them may be more than fits into one string. */
function linesOf(bytes: Uint8Array = new Uint8Array()): Lines {
  const starts: number[] = []
  for (let at = 0; at < bytes.length && starts.length <= LIMITS.evidencePackEventsMax; ) {
    starts.push(at)
    const newline = bytes.indexOf(0x0a, at)
    at = newline < 0 ? bytes.length : newline + 1
  }
  // What is no UTF-8 is read as far as it goes, so that the line it is in can be named.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  return {
    count: starts.length,
    line(n) {
      const start = starts[n] ?? bytes.length
      const newline = bytes.indexOf(0x0a, start)
      const end = newline < 0 ? bytes.length : newline
      // A line that was cut here is malformed.
      return decoder.decode(bytes.subarray(start, Math.min(end, start + LIMITS.evidencePackLineBytesMax)))
    },
  }
}

interface ProofIndex {
  readonly count: number
  /** The line of the proof of an event, once. */
  take(id: number): string | undefined
  /** The id in a line, for an event there that cannot be read. */
  takeLine(n: number): number | undefined
  /** Ids of proofs that nobody took, ascending. */
  left(): readonly number[]
}

/** By id, so that one line more or less does not put all behind it out of place. */
function indexProofs(files: ReadonlyMap<string, Uint8Array>, events: Lines, note: Note): ProofIndex {
  const { count, line } = linesOf(files.get('proofs.ndjson'))
  const byId = new Map<number, number>()
  let last = 0
  for (let n = 0; n < count; n++) {
    const id = idIn(line(n))
    if (id === undefined) note('proofs.ndjson', 'malformed', idIn(events.line(n)))
    else if (id <= last) note('proofs.ndjson', 'out-of-order', id)
    if (id === undefined) continue
    last = id
    if (!byId.has(id)) byId.set(id, n)
  }
  function take(id: number): string | undefined {
    const n = byId.get(id)
    byId.delete(id)
    return n === undefined ? undefined : line(n)
  }
  return {
    count,
    take,
    takeLine(n) {
      const id = idIn(line(n))
      return id !== undefined && take(id) !== undefined ? id : undefined
    },
    left: () => [...byId.keys()].sort((a, b) => a - b),
  }
}

function idIn(line: string): number | undefined {
  const [, id = ''] = /^\{"id":([0-9]{1,16}),/.exec(line) ?? []
  return parseDecimal(id)
}

function faultOf(row: EventRow, proof: PackProof, { size, root }: Checkpoint): PackFault | undefined {
  const commitment = commitmentOf(row, proof)
  if (commitment === undefined) return 'not-logged'
  return verifyInclusion(hashLeaf(formatLeaf(row, commitment)), row.id - 1, size, proof.hashes, root)
    ? undefined
    : 'not-logged'
}

/** Undefined for an event that is said to be erased, and has private columns all the same. */
function commitmentOf(row: EventRow, { opening }: PackProof): Hash | undefined {
  if ('salt' in opening) return commit(opening.salt, row)
  return formatPrivate(row) === formatPrivate(ERASED_COLUMNS) ? opening.commitment : undefined
}

function isAskedFor(row: EventRow, { start_time, end_time, cp_id }: PackManifest): boolean {
  const isInTime = row.date_time >= start_time && row.date_time < end_time
  return isInTime && (cp_id === null || row.who === cp_id)
}
