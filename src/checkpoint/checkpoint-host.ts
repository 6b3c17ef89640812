/**
 * The checkpoint stage, as the service sees it: has a checkpoint signed at most once a second while there is news, and says how old the
 * news is that none covers yet. What may be signed, and with which keys, is decided by a signer: of a data folder (thread-signer.ts), or
 * of a PostgreSQL (postgres-signer.ts), where other instances sign, too.
 *
 * Witnesses are asked by whoever signed. Other instances take over what came of it: the newest one that is witnessed is handed on to
 * `onSigned` too, whose listener counts the cosignatures in it. What another signed and nobody had cosigned for `TAKE_OVER_MS`, as its
 * instance is gone, each takes up.
 *
 * Owns the newest checkpoint in memory, and its signer. Must not delay a request.
 *
 *   following   the last attempt left nothing to do, or something to do later
 *   refused     what would be signed does not continue what was; stays so until the process ends, but for a clock
 *   tampered    what was logged was changed, and nothing is signed: until the process begins anew, if it was found here
 *               (self-watch.ts), or until it is as it was logged, if all instances were told so (postgres-watch.ts)
 *   stopped     for good
 */
import type { KeyChain } from '../evidence/key-chain.ts'
import { parseNote } from '../evidence/note.ts'
import { type Outcome, type RefusalCause, type Unavailable, unavailable } from './outcome.ts'
import type { FoundTampering } from './postgres-watch.ts'
import type { Watched } from './self-watch.ts'

/** One call at a time of the first four, in this order. What they throw is told as the last error, and tried again. */
export interface LogSigner {
  /** Keys or tables, where there are none; and what a crash cut off. */
  prepare(): Promise<void>
  /** Reads some of the trail again, for about so long, or says how far another has; undefined when neither can be done now. */
  watch(ms: number): Promise<Watched | undefined>
  sign(): Promise<Outcome | Tampered>
  /**
   * After a `sign` that found nothing wrong: lets other keys sign what comes next, if somebody asked for it or the setting is another one.
   * @param size of the checkpoint that it found or made
   */
  handOver(size: number): Promise<void>
  /** The newest note that was kept as witnessed by any instance, as of the last `sign`. */
  witnessed(): SizedNote | undefined
  /**
   * Takes the cosignatures of a note over, if it is of the newest checkpoint.
   * @param isWitnessed enough have cosigned it: it is kept as such, unless a larger one is
   */
  cosign(note: string, isWitnessed: boolean): Promise<void>
  /** The log's note on the manifest of an evidence pack (pack-note.ts). Undefined: it is none of this log, or cannot be signed now. */
  signManifest(manifest: string): Promise<string | undefined>
  /** Not older than the newest checkpoint. @throws {Refusal} LOG_KEYS_UNUSABLE */
  keyChain(): KeyChain | undefined
  close(): Promise<void>
}

/** Nothing is signed by anybody now. `last`: what was signed before, which others are still shown. */
export interface Tampered {
  readonly kind: 'tampered'
  readonly found: FoundTampering
  readonly last: Outcome
}

export interface SizedNote {
  readonly size: number
  readonly note: string
}

export interface CheckpointStatus {
  readonly phase: 'following' | 'refused' | 'tampered' | 'stopped'
  /** Of the newest checkpoint; 0 before the first. */
  readonly size: number
  /** How long the oldest row has waited that no checkpoint covers. */
  readonly unsignedMs: number
  /** When the newest checkpoint was signed, in milliseconds since 1970; undefined if that was before this process looked. */
  readonly signedAt: number | undefined
  /** Reading the trail again: how far this round is, in events, and how many rounds went well. Undefined where that is not done. */
  readonly watched: { readonly through: number; readonly rounds: number } | undefined
  /** For how long that was not seen to go on, here or in another instance; 0 where it is not done. */
  readonly watchStalledMs: number
  /** Why it is refused, or was not possible the last time. */
  readonly lastError: string | null
  /** What was not possible is for somebody to mend, as a private key that is gone: nothing to wait a while for. */
  readonly isLasting: boolean
}

export interface Checkpoints {
  /** The newest signed note, undefined before the first. */
  newest(): string | undefined
  status(): CheckpointStatus
  /** As `LogSigner.keyChain`. */
  keyChain(): KeyChain | undefined
  /** There are rows up to this id. Costs nothing worth counting. */
  indexed(lastEventId: number): void
  /** Takes the cosignatures of a note over, if it is still the newest, and keeps it if it is witnessed. */
  cosigned(note: string, isWitnessed: boolean): void
  /** The log's note on the manifest of an evidence pack (pack-note.ts). Undefined when nothing is signed now, or not that. */
  signManifest(manifest: string): Promise<string | undefined>
  /** Signs what there is, and nothing after that; cosignatures are still taken over. */
  finish(): Promise<void>
  /** `finish`, if that was not done, then ends the signer. */
  close(): Promise<void>
}

export interface CheckpointOptions {
  readonly signer: LogSigner
  /** Also the one that a process before signed last, and those of others. */
  readonly onSigned?: (note: string) => void
  /** How much of each second is spent on reading the trail again. */
  readonly watchMs: number
  /** Nothing is signed any more then. Told again with each look that finds it so. */
  readonly onTampered: (found: FoundTampering) => void
  /** Once for each cause. */
  readonly onRefused: (cause: RefusalCause, detail: string) => void
}

const INTERVAL_MS = 1_000
const TAKE_OVER_MS = 10_000

/** What cannot be used now, folder, keys or server, is waited for. */
export function startCheckpoints(options: CheckpointOptions): Checkpoints {
  const { signer, watchMs, onSigned = () => {} } = options
  let phase: CheckpointStatus['phase'] = 'following'
  let newest: { readonly note: string | undefined; readonly size: number } = { note: undefined, size: 0 }
  /** When it was seen first. */
  let newestSince = 0
  /** Size of the newest one that the witnesses' client was given. */
  let handedOn = -1
  let signedAt: number | undefined
  let watched: CheckpointStatus['watched']
  let watchedAt = performance.now()
  let lastError: string | null = null
  let isLasting = false
  /** Until the process begins anew. */
  let foundHere: FoundTampering | undefined
  let lastEventId = 0
  /** Since when there are rows that no checkpoint covers. */
  let waitingSince: number | undefined
  const refused = new Set<RefusalCause>()
  let running: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  async function watch(): Promise<void> {
    if (watchMs === 0 || phase === 'stopped') return
    const found = await signer.watch(watchMs)
    if (found?.kind === 'sound') {
      if (found.through !== watched?.through || found.rounds !== watched.rounds) watchedAt = performance.now()
      watched = found
    }
    if (found === undefined || found.kind === 'sound') return
    foundHere = { ...found, foundAt: new Date() }
  }

  function stopFor(found: FoundTampering): void {
    phase = 'tampered'
    lastError = `event ${found.id}: ${found.detail}`
    options.onTampered(found)
  }

  async function step(): Promise<void> {
    await signer.prepare() // its error is that of the step
    if (foundHere === undefined) await watch()
    if (foundHere !== undefined) return stopFor(foundHere)
    const startedAt = performance.now()
    const outcome = await signer.sign()
    if (outcome.kind === 'unavailable') fail(outcome)
    else if (outcome.kind === 'refused') refuse(outcome.cause, outcome.detail)
    else if (outcome.kind === 'tampered') {
      if ('note' in outcome.last) follow(outcome.last, startedAt)
      stopFor(outcome.found)
    } else {
      follow(outcome, startedAt)
      await signer.handOver(outcome.size)
    }
  }

  function follow({ kind, size, note }: Extract<Outcome, { size: number }>, startedAt: number): void {
    const isFound = newest.note === undefined
    const isNews = size > newest.size
    phase = 'following'
    lastError = null
    isLasting = false
    if (isNews) newestSince = startedAt
    if (kind === 'signed' || (isNews && !isFound)) signedAt = Date.now()
    newest = { note, size }
    // What another holds the lock for may never be signed: only a new checkpoint ends the waiting.
    if (size >= lastEventId) waitingSince = undefined
    else if (kind === 'signed' || isNews || waitingSince === undefined) waitingSince = startedAt
    const witnessed = signer.witnessed()
    if (witnessed !== undefined) handOn(witnessed)
    if (kind === 'signed' || isFound || startedAt - newestSince > TAKE_OVER_MS) handOn({ note, size })
  }

  function fail(outcome: Unavailable): void {
    lastError = outcome.detail
    isLasting = outcome.isLasting === true
  }

  function handOn({ note, size }: SizedNote): void {
    if (size <= handedOn) return
    handedOn = size
    onSigned(note)
  }

  function refuse(cause: RefusalCause, detail: string): void {
    phase = 'refused'
    lastError = `${cause}: ${detail}`
    if (refused.has(cause)) return
    refused.add(cause)
    options.onRefused(cause, detail)
  }

  /** One at a time; another one is due a second after it began, if there is news by then. */
  function run(): Promise<void> {
    clearTimeout(timer)
    const startedAt = performance.now()
    running ??= step()
      .catch(error => fail(unavailable(error)))
      .finally(() => {
        running = undefined
        if (phase === 'stopped') return
        const isWaiting = newest.size < lastEventId || lastError !== null
        timer = setTimeout(run, isWaiting ? Math.max(0, startedAt + INTERVAL_MS - performance.now()) : INTERVAL_MS)
        timer.unref()
      })
    return running
  }

  async function finish(): Promise<void> {
    clearTimeout(timer)
    await running
    await run()
    phase = 'stopped'
    clearTimeout(timer)
  }

  void run()
  return {
    newest: () => newest.note,
    keyChain: signer.keyChain,
    status: () => ({
      phase,
      size: newest.size,
      unsignedMs: waitingSince === undefined ? 0 : performance.now() - waitingSince,
      signedAt,
      watched,
      watchStalledMs: watchMs === 0 ? 0 : performance.now() - watchedAt,
      lastError,
      isLasting,
    }),
    indexed(id) {
      lastEventId = id
      if (id > newest.size) waitingSince ??= performance.now()
    },
    cosigned(note, isWitnessed) {
      const isNewest = newest.note !== undefined && parseNote(note)?.text === parseNote(newest.note)?.text
      if (isNewest) newest = { ...newest, note }
      if (isNewest || isWitnessed) signer.cosign(note, isWitnessed).catch(() => {}) // the next one will have them
    },
    async signManifest(manifest) {
      return phase === 'following' && newest.note !== undefined ? signer.signManifest(manifest) : undefined
    },
    finish,
    async close() {
      if (phase !== 'stopped') await finish()
      await signer.close()
    },
  }
}
