/**
 * Judges an evidence pack: every event in it against its proof, the proofs against the signed checkpoint, the files and the page
 * against the manifest, the manifest against the log's signature. What the page of a pack checks, as a verdict.
 *
 * A pack is some events of a log, without its tree: whether the log is still the same is seen by verifying the log, with the
 * pack's `checkpoint` as the trusted one.
 */
import { counted } from '../counted.ts'
import { areSameBytes, decodeText } from '../evidence/encoding.ts'
import { parseVerifierKey } from '../evidence/note.ts'
import { PACK_NOTE, PACK_PAGE } from '../evidence/pack.ts'
import { readPackZip } from '../evidence/pack-zip.ts'
import { PACK_FAULTS, type PackFault, type PackProblem, type PackReport, verifyPack } from '../evidence/verify-pack.ts'
import { openChain, openSigned, readWitnesses } from './chain.ts'
import type { Finding, Place } from './verdict.ts'
import { type Report, type Trust, unreadableReport, type VerifyOptions, verdictOf } from './verify.ts'

const VERDICT_OF: Readonly<Record<PackFault, Finding['verdict']>> = {
  missing: 'DELETED',
  'no-event': 'DELETED',
  unexpected: 'INSERTED',
  'no-proof': 'INSERTED',
  malformed: 'MALFORMED',
  'unknown-version': 'UNVERIFIABLE',
  changed: 'EDITED',
  'not-logged': 'EDITED',
  'other-page': 'EDITED',
  'other-checkpoint': 'EDITED',
  'not-asked-for': 'EDITED',
  'wrong-count': 'EDITED',
  'not-signed-for': 'EDITED',
  'wrong-digest': 'EDITED',
  'out-of-order': 'REORDERED',
  'broken-chain': 'WRONG_KEY',
  'wrong-signature': 'WRONG_KEY',
  'missing-signature': 'WRONG_KEY',
  'other-key': 'WRONG_KEY',
  'revoked-key': 'REVOKED_KEY',
}
/** Told last, as they follow from what was changed, and say less: a manifest is as easily made anew as not. */
const FOLLOWING: ReadonlySet<PackFault> = new Set(['wrong-count', 'not-signed-for', 'other-page', 'wrong-digest'])
/**
 * A note cannot be made by whoever changes a selection, but it can be taken away. So a pack without one is never pristine, whoever
 * made it without: only its reader knows whether there is a reason.
 */
const UNSIGNED: Finding = {
  verdict: 'UNSIGNED_SELECTION',
  at: { part: 'the selection of events' },
  detail: `There is no ${PACK_NOTE}: whoever had the pack could leave events out, and say that others were asked for`,
}
const NAMES: Readonly<Record<string, string>> = { checkpoint: 'the checkpoint', keys: 'the key chain' }

/**
 * @param pack the zip, or its files by name
 * @param trust `trusted` can only be compared where it has the size of the pack's checkpoint; otherwise that is not decided
 */
export async function verifyEvidencePack(
  pack: Uint8Array | ReadonlyMap<string, Uint8Array>,
  trust: Trust = {},
  { onProgress = () => {} }: VerifyOptions = {},
): Promise<Report> {
  const files = pack instanceof Uint8Array ? readPackZip(pack) : pack
  if (files === undefined) return unreadableReport('It is no zip, or has more in it than an evidence pack can have')
  const lines = trust.key?.trim().split('\n') ?? []
  const keys = lines.map(line => parseVerifierKey(line.trim()))
  const areKeys = keys.every(key => key !== undefined)
  const steps = verifyPack(files, areKeys ? keys : [])
  let step = steps.next()
  for (; !step.done; step = steps.next()) {
    onProgress(step.value.done, step.value.total)
    await new Promise<void>(resolve => setTimeout(resolve)) // others get their turn
  }
  return judge(files, step.value, trust)
}

function judge(files: ReadonlyMap<string, Uint8Array>, report: PackReport, trust: Trust): Report {
  const { events, checkpoint, algorithms, chain, selection } = report
  const unsigned = selection === 'unsigned' ? [UNSIGNED] : []
  const findings = [...findingsOf(report.problems), ...checkTrust(files, report, trust), ...unsigned]
  return {
    ...verdictOf(
      findings,
      `${counted(events.length, 'event')}, each under the signed checkpoint of size ${checkpoint?.size}`,
    ),
    notes: [...notesOf(files, report, trust)],
    origin: chain?.first.name,
    size: events.length,
    signed_size: events.filter(({ isProven }) => isProven).length,
    root: undefined,
    checkpoints: checkpoint === undefined ? 0 : 1,
    signatures: algorithms,
    erased: events.filter(({ isErased }) => isErased).length,
    archived: 0,
  }
}

/** One for each place and verdict. */
function findingsOf(problems: readonly PackProblem[]): Finding[] {
  const last = problems.filter(({ fault }) => FOLLOWING.has(fault))
  const findings = new Map<string, Finding>()
  for (const problem of [...problems.filter(({ fault }) => !FOLLOWING.has(fault)), ...last]) {
    const finding = findingOf(problem)
    const key = JSON.stringify([finding.verdict, finding.at])
    if (!findings.has(key)) findings.set(key, finding)
  }
  return [...findings.values()]
}

function findingOf({ part, fault, id }: PackProblem): Finding {
  const verdict = VERDICT_OF[fault]
  const words = PACK_FAULTS[fault]
  const at: Place = { part: NAMES[part] ?? `the file ${part}` }
  if (id === undefined) return { verdict, at, detail: `It ${words}` }
  // These are not about the event, which may be as it was logged.
  if (fault === 'not-asked-for') return { verdict, at: { part: 'the selection' }, detail: `Event ${id} ${words}` }
  if (fault === 'unexpected' || fault === 'missing')
    return { verdict, at: { part: `the proof of event ${id}` }, detail: `It ${words}` }
  return { verdict, at: { id }, detail: `Its line in ${part} ${words}` }
}

/** What the auditor brought along, but for the key. */
function* checkTrust(
  files: ReadonlyMap<string, Uint8Array>,
  { checkpoint, key }: PackReport,
  trust: Trust,
): Generator<Finding> {
  if (trust.key !== undefined && key === 'not-compared') {
    const detail = 'The given key is no verifier key of a log'
    yield { verdict: 'UNVERIFIABLE', at: { part: 'the signature' }, detail }
  }
  if (checkpoint === undefined || key === 'other') return
  const witnesses = readWitnesses(trust.witnesses)
  yield* witnesses.findings
  const { chain, findings } = openChain(textOf(files, 'keys'), key === 'given' ? trust.key : undefined)
  yield* findings // of several keys, one may be none of the log
  const { cosignatures } = openSigned(textOf(files, 'checkpoint'), 'the checkpoint', chain, witnesses.verifiers)
  const quorum = trust.quorum ?? witnesses.count
  const { size, root } = checkpoint
  if (cosignatures < quorum) {
    const detail = `${cosignatures} of ${witnesses.count} witnesses have signed it, and ${quorum} are wanted`
    yield { verdict: 'NOT_WITNESSED', at: { size }, detail }
  }
  if (trust.trusted === undefined) return
  const trusted = openSigned(trust.trusted, 'the trusted checkpoint', chain)
  yield* trusted.findings
  const known = trusted.checkpoint
  if (known === undefined) return
  if (known.size !== size) {
    const detail = `A pack has one tree only, here of size ${size}; verify the log, with the checkpoint of the pack as the trusted one`
    yield { verdict: 'UNVERIFIABLE', at: { size: known.size }, detail }
  } else if (!areSameBytes(known.root, root)) {
    yield { verdict: 'FORKED', at: { size }, detail: 'The pack is of another history' }
  }
}

const textOf = (files: ReadonlyMap<string, Uint8Array>, name: string) =>
  decodeText(files.get(name) ?? new Uint8Array()) ?? ''

function* notesOf(
  files: ReadonlyMap<string, Uint8Array>,
  { events, manifest, selection }: PackReport,
  trust: Trust,
): Generator<string> {
  if (trust.key === undefined) {
    yield 'no --key was given: the key is the one in the pack, which proves no more than whoever made it'
  }
  if (files.has(PACK_PAGE) && selection === 'unsigned') {
    yield `nobody vouches for ${PACK_PAGE}, either: it is a program, and may show anything`
  }
  const missing = manifest?.archives_missing ?? []
  if (missing.length > 0)
    yield `the pack says that events of archives that were not at hand are not in it: ${missing.join(', ')}`
  const [first, last] = [events[0]?.row.id ?? 0, events.at(-1)?.row.id ?? -1]
  const left = last - first + 1 - events.length
  if (left > 0)
    yield `${counted(left, 'event')} of the log between ${first} and ${last} ${left === 1 ? 'is' : 'are'} not in the pack`
  const erased = events.filter(({ isErased }) => isErased).length
  if (erased > 0) yield `${counted(erased, 'event is erased', 'events are erased')}; a pack does not say by which event`
}
