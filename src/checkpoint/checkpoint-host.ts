/**
 * The checkpoint stage, seen from the main thread: has a checkpoint signed at most once a second while there is news, and says
 * how old the news is that none covers yet. What may be signed is decided in signer.ts.
 *
 * Owns the signer's thread, the newest checkpoint in memory, and the rotation of keys. Must not delay a request.
 *
 *   following   the last attempt left nothing to do, or something to do later
 *   refused     what would be signed does not continue what was; stays so until the process ends, but for a clock
 *   tampered    what was logged was changed (self-watch.ts); nothing is signed until the process begins anew
 *   stopped     for good
 */
import { once } from 'node:events'
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { currentKeys } from '../evidence/key-chain.ts'
import { parseNote } from '../evidence/note.ts'
import {
  askForRotation,
  beginKeyChain,
  completeHandOver,
  hasHandOver,
  type KeyFolders,
  keyChainReader,
  takeHandOver,
} from './key-files.ts'
import type { Outcome, RefusalCause } from './signer.ts'
import type { SignerAnswer, SignerMessage, SignerThreadData } from './signer-protocol.ts'

export interface CheckpointStatus {
  readonly phase: 'following' | 'refused' | 'tampered' | 'stopped'
  /** Of the newest checkpoint; 0 before the first. */
  readonly size: number
  /** How long the oldest row has waited that no checkpoint covers. */
  readonly unsignedMs: number
  /** When the newest checkpoint was signed, in milliseconds since 1970; undefined if a process before this one did. */
  readonly signedAt: number | undefined
  /** Reading the trail again: how far this round is, in events, and how many rounds went well. Undefined where that is not done. */
  readonly watched: { readonly through: number; readonly rounds: number } | undefined
  /** Why it is refused, or was not possible the last time. */
  readonly lastError: string | null
}

export interface Checkpoints {
  /** The newest signed note, undefined before the first. */
  newest(): string | undefined
  status(): CheckpointStatus
  /** There are rows up to this id. Costs nothing worth counting. */
  indexed(lastEventId: number): void
  /** Takes the cosignatures of a note over, if it is still the newest, and keeps it if it is witnessed. */
  cosigned(note: string, isWitnessed: boolean): void
  /** The log's note on the manifest of an evidence pack (pack-note.ts). Undefined when nothing is signed now, or not that. */
  signManifest(manifest: string): Promise<string | undefined>
  /** Signs what there is, and nothing after that; cosignatures are still taken over. */
  finish(): Promise<void>
  /** `finish`, if that was not done, then ends the thread. */
  close(): Promise<void>
}

export interface CheckpointOptions {
  readonly storePath: string
  readonly folders: KeyFolders
  /** Left out: as it was, or made up at the first start. */
  readonly origin: string | undefined
  /** Whether an ML-DSA-44 key signs, too. Where it is otherwise so far, the keys are handed over to others. */
  readonly withMlDsa44: boolean
  /** Also the one that a process before signed last. */
  readonly onSigned?: (note: string) => void
  /** How much of each second is spent on reading the trail again. */
  readonly watchMs: number
  /** Once. Nothing is signed any more then. */
  readonly onTampered: (id: number, detail: string) => void
  /** Once for each cause. */
  readonly onRefused: (cause: RefusalCause, detail: string) => void
  /** Resolves when the hand-over is on record. */
  readonly onHandOver: (note: string) => Promise<void>
}

/** Source runs as `.ts`, the published package as `.js`; a worker's file is named at run time. */
const THREAD = new URL(`./signer-thread${extname(import.meta.url)}`, import.meta.url)
const HEAP = { maxYoungGenerationSizeMb: 8 } as const
const INTERVAL_MS = 1_000

/** A folder or keys that cannot be used are waited for. */
export function startCheckpoints(options: CheckpointOptions): Checkpoints {
  const { storePath, folders, origin, withMlDsa44 } = options
  const readChain = keyChainReader(folders)
  let hasKeys = false
  let worker: Worker | undefined
  let phase: CheckpointStatus['phase'] = 'following'
  let newest: { readonly note: string | undefined; readonly size: number } = { note: undefined, size: 0 }
  let signedAt: number | undefined
  let watched: NonNullable<CheckpointStatus['watched']> = { through: 0, rounds: 0 }
  let lastError: string | null = null
  let lastEventId = 0
  /** Since when there are rows that no checkpoint covers. */
  let waitingSince: number | undefined
  const refused = new Set<RefusalCause>()
  let running: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  /** In the order in which they asked, which is that of the answers; undefined: the thread ended. */
  const waiting: ((answer: SignerAnswer | undefined) => void)[] = []

  function startWorker(): Worker {
    const workerData: SignerThreadData = { storePath, folders }
    const started = new Worker(THREAD, { workerData, name: 'evc-signer', execArgv: [], resourceLimits: HEAP })
    started.on('message', (answer: SignerAnswer) => waiting.shift()?.(answer))
    started.on('error', () => {}) // an 'exit' follows
    started.on('exit', () => {
      worker = undefined
      for (const settle of waiting.splice(0)) settle(undefined)
    })
    return started
  }

  function ask(message: SignerMessage): void {
    worker ??= startWorker()
    worker.postMessage(message)
  }

  function answerTo(message: SignerMessage): Promise<SignerAnswer | undefined> {
    return new Promise(resolve => {
      waiting.push(resolve)
      ask(message)
    })
  }

  async function sign(): Promise<Outcome> {
    const answer = await answerTo('sign')
    return answer !== undefined && 'outcome' in answer
      ? answer.outcome
      : { kind: 'unavailable', detail: "the signer's thread ended" }
  }

  async function watch(): Promise<void> {
    if (options.watchMs === 0 || phase === 'stopped') return
    const answer = await answerTo({ watchMs: options.watchMs })
    if (answer === undefined || !('watched' in answer) || answer.watched === undefined) return
    if (answer.watched.kind === 'sound') {
      watched = answer.watched
      return
    }
    const { id, detail } = answer.watched
    phase = 'tampered'
    lastError = `event ${id}: ${detail}`
    options.onTampered(id, detail)
  }

  const isTampered = () => phase === 'tampered'

  async function step(): Promise<void> {
    if (!hasKeys) beginKeyChain(folders, origin, withMlDsa44) // its error is that of the step
    hasKeys = true
    if (hasHandOver(folders)) await rotate() // before the old keys sign beyond the size that it names
    if (!isTampered()) await watch()
    if (isTampered()) return
    const startedAt = performance.now()
    const outcome = await sign()
    if (outcome.kind === 'signed' || outcome.kind === 'nothing-new') follow(outcome, startedAt)
    else if (outcome.kind === 'unavailable') lastError = outcome.detail
    else refuse(outcome.cause, outcome.detail)
    if (lastError === null) await rotate()
  }

  function follow({ kind, size, note }: Extract<Outcome, { size: number }>, startedAt: number): void {
    const isNews = kind === 'signed' || newest.note === undefined
    if (phase === 'refused') phase = 'following'
    lastError = null
    newest = { note, size }
    if (kind === 'signed') signedAt = Date.now()
    waitingSince = size < lastEventId ? startedAt : undefined
    if (isNews) options.onSigned?.(note)
  }

  function refuse(cause: RefusalCause, detail: string): void {
    phase = 'refused'
    lastError = `${cause}: ${detail}`
    if (refused.has(cause)) return
    refused.add(cause)
    options.onRefused(cause, detail)
  }

  /** Because somebody asked for it, or the setting is another one. See key-files.ts for what a crash leaves. */
  async function rotate(): Promise<void> {
    const chain = readChain()
    if (chain === undefined) return
    let note = takeHandOver(folders, chain, newest.size)
    if (note === undefined && (currentKeys(chain).mlDsa44 !== undefined) !== withMlDsa44) {
      askForRotation(folders, chain, withMlDsa44)
      note = takeHandOver(folders, chain, newest.size)
    }
    if (note === undefined) return
    await options.onHandOver(note)
    completeHandOver(folders, chain, note)
  }

  /** One at a time; another one is due a second after it began, if there is news by then. */
  function run(): Promise<void> {
    clearTimeout(timer)
    const startedAt = performance.now()
    running ??= step()
      .catch(error => {
        lastError = error.message
      })
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
    status: () => ({
      phase,
      size: newest.size,
      unsignedMs: waitingSince === undefined ? 0 : performance.now() - waitingSince,
      signedAt,
      watched,
      lastError,
    }),
    indexed(id) {
      lastEventId = id
      if (id > newest.size) waitingSince ??= performance.now()
    },
    cosigned(note, isWitnessed) {
      const isNewest = newest.note !== undefined && parseNote(note)?.text === parseNote(newest.note)?.text
      if (isNewest) newest = { ...newest, note }
      if (isNewest || isWitnessed) ask({ cosign: note, isWitnessed })
    },
    async signManifest(manifest) {
      if (phase !== 'following' || newest.note === undefined) return undefined
      const answer = await answerTo({ manifest })
      return answer !== undefined && 'note' in answer ? answer.note : undefined
    },
    finish,
    async close() {
      if (phase !== 'stopped') await finish()
      if (worker === undefined) return
      const exited = once(worker, 'exit')
      ask('close')
      await exited.catch(() => {})
    },
  }
}
