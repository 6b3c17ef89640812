/**
 * Has the checkpoints of a log cosigned by witnesses, beside the signing, which never waits for it.
 *
 * Goes by rounds: the newest checkpoint is sent to every witness that is not resting, and the next round, with what is the newest
 * then, begins when each has answered or its time is up. So all witnesses cosign the same checkpoints, however differently fast they
 * are; those signed in between are skipped. A witness that failed rests, each time longer; the others do not wait for it.
 *
 *   idle      the newest checkpoint is cosigned by every witness
 *   asking    a round is on its way; at most one request to each witness
 *   resting   those that have not cosigned the newest one failed; the first to be due is asked again
 *
 * Owns what it knows of its witnesses, in memory: each says where it is when it is asked. Must not sign anything.
 */
import { parseCheckpoint } from '../evidence/checkpoint.ts'
import { formatNote, type NoteSignature, parseNote, type Verifier, type VerifierKey } from '../evidence/note.ts'
import { createVerifier } from '../evidence/signature.ts'
import { LIMITS } from '../limits.ts'
import {
  isBy,
  type ReadHandOvers,
  type ReadProof,
  requestCosignature,
  type WitnessFault,
} from './cosignature-request.ts'

export type { ReadHandOvers, ReadProof, WitnessFault } from './cosignature-request.ts'

export interface WitnessClient {
  /**
   * Takes a newly signed checkpoint over and returns at once. Cosignatures that are in it already count. One that is not larger
   * than the newest is ignored.
   * @throws {RangeError} when it is no signed checkpoint
   */
  submit(note: string): void
  status(): WitnessClientStatus
  /**
   * For each cosignature: the checkpoint with all that it has by now, the log's own signatures first. It need not be the newest
   * any more. The listener must not throw.
   */
  onCosigned(listener: (note: string) => void): void
  /** The newest checkpoint that the quorum cosigned, with all that it has by now; undefined before there is one. */
  witnessed(): string | undefined
  /** Resolves when the quorum has cosigned the newest checkpoint or cannot do so in that time, or when that is over. */
  settled(ms: number): Promise<void>
  /** Ends what is on its way. */
  close(): Promise<void>
}

export interface WitnessClientStatus {
  /** Of the newest checkpoint. */
  readonly size: number
  /** Of the newest checkpoint that as many witnesses cosigned as the quorum asks for. */
  readonly cosignedSize: number
  /** Whether these are the same. */
  readonly isSatisfied: boolean
  /** For how long they have not been; 0 when they are. */
  readonly waitingMs: number
  readonly witnesses: readonly WitnessLag[]
}

export interface WitnessLag {
  readonly name: string
  readonly url: string
  /** Of the last checkpoint it cosigned, as far as this process knows; 0 before the first. */
  readonly cosignedSize: number
  /** When, by its clock, in seconds since 1970. */
  readonly cosignedAt: number | undefined
  /** Of the last attempt; undefined when it went well, or there was none. */
  readonly lastFault: WitnessFault | undefined
  /** How many attempts failed since it last went well. */
  readonly failures: number
}

export interface Timing {
  readonly attemptMsMax: number
  readonly retryMsMin: number
  readonly retryMsMax: number
}

const TIMING: Timing = {
  attemptMsMax: LIMITS.witnessAttemptMsMax,
  retryMsMin: LIMITS.witnessRetryMsMin,
  retryMsMax: LIMITS.witnessRetryMsMax,
}

interface Submitted {
  readonly signed: string
  readonly text: string
  readonly size: number
  /** Those of the log, and the cosignatures that came. */
  readonly signatures: NoteSignature[]
  /** By the monotonic clock. */
  readonly atMs: number
}

interface Party {
  readonly url: string
  readonly verifier: Verifier
  cosignedSize: number
  cosignedAt: number | undefined
  lastFault: WitnessFault | undefined
  failures: number
  /** By the monotonic clock. */
  restsUntilMs: number
}

export function createWitnessClient(options: {
  readonly witnesses: readonly { readonly url: string; readonly key: VerifierKey }[]
  /** How many of them have to cosign. */
  readonly quorum: number
  readonly readProof: ReadProof
  readonly readHandOvers?: ReadHandOvers
  readonly fetch?: typeof fetch
  readonly clock?: () => number
  readonly timing?: Timing
}): WitnessClient {
  const { quorum, readProof, readHandOvers = () => [], clock = Date.now, timing = TIMING } = options
  const send = options.fetch ?? fetch
  const parties = options.witnesses.map(createParty)
  const listeners: ((note: string) => void)[] = []
  /** Called when a witness has answered, or has not. */
  const answered = new Set<() => void>()
  const closing = new AbortController()
  let newest: Submitted | undefined
  let witnessed: Submitted | undefined
  let waitingSinceMs: number | undefined
  let round: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  function submit(signed: string): void {
    const checkpoint = readSubmitted(signed, parties)
    if (newest !== undefined && checkpoint.size <= newest.size) return
    newest = checkpoint
    for (const party of parties) takeFromNote(party, checkpoint)
    waitingSinceMs ??= checkpoint.atMs
    judge(checkpoint)
    goOn()
  }

  /** After anything that changed: a round, or rest until one is due. */
  function goOn(): void {
    if (newest === undefined || round !== undefined || closing.signal.aborted) return
    const { size } = newest
    clearTimeout(timer)
    const lacking = parties.filter(party => party.cosignedSize < size)
    if (lacking.length === 0) return
    const now = performance.now()
    const due = lacking.filter(party => party.restsUntilMs <= now)
    if (due.length === 0) {
      const first = Math.min(...lacking.map(party => party.restsUntilMs))
      timer = setTimeout(goOn, first - now + 1).unref()
      return
    }
    round = ask(due, newest).then(() => {
      round = undefined
      goOn()
    })
  }

  async function ask(due: readonly Party[], checkpoint: Submitted): Promise<void> {
    const asked = due.map(async party => {
      await askOne(party, checkpoint)
      for (const look of answered) look()
    })
    await Promise.all(asked)
  }

  async function askOne(party: Party, checkpoint: Submitted): Promise<void> {
    const { url, verifier, cosignedSize: oldSize } = party
    const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(timing.attemptMsMax)])
    const request = { url, verifier, checkpoint, oldSize, readProof, readHandOvers, fetch: send, signal, clock }
    const result = await requestCosignature(request)
    if (closing.signal.aborted) return
    if (!result.isCosigned) {
      party.failures++
      party.lastFault = result.fault
      party.restsUntilMs = performance.now() + restMs(party.failures, timing)
      return
    }
    party.cosignedSize = checkpoint.size
    party.cosignedAt = result.time
    party.lastFault = undefined
    party.failures = 0
    checkpoint.signatures.push(result.signature)
    judge(checkpoint)
    const note = formatNote(checkpoint)
    for (const listener of listeners) listener(note)
  }

  /** Whether enough witnesses cosigned it. */
  function judge(checkpoint: Submitted): void {
    const { size } = checkpoint
    const cosigned = parties.filter(party => party.cosignedSize === size).length
    if (cosigned < quorum || size < (witnessed?.size ?? 0) || newest === undefined) return
    witnessed = checkpoint
    waitingSinceMs = newest.size > size ? newest.atMs : undefined
  }

  return {
    submit,
    onCosigned: listener => void listeners.push(listener),
    witnessed: () => witnessed && formatNote(witnessed),
    status: () => ({
      size: newest?.size ?? 0,
      cosignedSize: witnessed?.size ?? 0,
      isSatisfied: waitingSinceMs === undefined,
      waitingMs: waitingSinceMs === undefined ? 0 : performance.now() - waitingSinceMs,
      witnesses: parties.map(toLag),
    }),
    settled(ms) {
      const until = performance.now() + ms
      // Whoever rests for longer is not asked in time.
      const canSign = (party: Party) => party.cosignedSize === newest?.size || party.restsUntilMs < until
      const canBe = () => waitingSinceMs !== undefined && parties.filter(canSign).length >= quorum
      return new Promise(resolve => {
        const end = () => {
          clearTimeout(last)
          answered.delete(look)
          resolve()
        }
        const look = () => void (canBe() || end())
        const last = setTimeout(end, ms)
        answered.add(look)
        look()
      })
    },
    async close() {
      closing.abort()
      clearTimeout(timer)
      await round
    },
  }
}

function createParty({ url, key }: { url: string; key: VerifierKey }): Party {
  const verifier = createVerifier(key)
  return { url, verifier, cosignedSize: 0, cosignedAt: undefined, lastFault: undefined, failures: 0, restsUntilMs: 0 }
}

function toLag({ url, verifier, cosignedSize, cosignedAt, lastFault, failures }: Party): WitnessLag {
  return { name: verifier.key.name, url, cosignedSize, cosignedAt, lastFault, failures }
}

function readSubmitted(signed: string, parties: readonly Party[]): Submitted {
  const note = parseNote(signed)
  const checkpoint = note && parseCheckpoint(note.text)
  if (note === undefined || checkpoint === undefined) throw new RangeError('this is no signed checkpoint')
  const { text } = note
  // A wrong line of a witness would make the whole note wrong for whoever knows that witness.
  const isWrong = (signature: NoteSignature) =>
    parties.some(({ verifier }) => isBy(verifier, signature) && verifier.verify(text, signature.bytes) === undefined)
  const signatures = note.signatures.filter(signature => !isWrong(signature))
  return { signed, text, size: checkpoint.size, signatures, atMs: performance.now() }
}

/** After a restart the newest checkpoint has its cosignatures already, and so has one that another instance had cosigned. */
function takeFromNote(party: Party, { text, size, signatures }: Submitted): void {
  const signature = signatures.find(line => isBy(party.verifier, line))
  if (signature === undefined) return
  party.cosignedSize = size
  party.cosignedAt = party.verifier.verify(text, signature.bytes)?.time
  party.lastFault = undefined
  party.failures = 0
  party.restsUntilMs = 0
}

/** Twice as long for each failure, and a random half of it less, so that logs do not come back to a witness all at once. */
function restMs(failures: number, { retryMsMin, retryMsMax }: Timing): number {
  const longest = Math.min(retryMsMax, retryMsMin * 2 ** (failures - 1))
  return longest * (1 - Math.random() / 2)
}
