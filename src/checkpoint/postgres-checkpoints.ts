/**
 * Checkpoints of a log in PostgreSQL, seen from one of its instances: looks once a second whether there is something to sign, and
 * knows the newest checkpoint whoever signed it. What may be signed is decided in postgres-signer.ts.
 *
 * Witnesses are asked by the instance that signed. The others take over what came of it: the newest one that is witnessed is handed on to
 * `onSigned` too, whose listener counts the cosignatures in it. What another signed and nobody had cosigned for `TAKE_OVER_MS`, as its
 * instance is gone, each takes up.
 *
 * Owns its sessions and the newest checkpoint in memory. Must not delay a request. Phases as in checkpoint-host.ts, but that `tampered` is
 * for all instances, and until what was changed is as it was logged (postgres-watch.ts).
 */
import { formatKeyChain } from '../evidence/key-chain.ts'
import { parseNote } from '../evidence/note.ts'
import { TILE_WIDTH } from '../evidence/tile.ts'
import { createPostgres } from '../postgres/postgres.ts'
import type { CheckpointOptions, CheckpointStatus, Checkpoints } from './checkpoint-host.ts'
import type { KeyWrap } from './postgres-keys.ts'
import { createPostgresSigner } from './postgres-signer.ts'
import type { FoundTampering, WatchState } from './postgres-watch.ts'
import type { Outcome } from './signer.ts'

const INTERVAL_MS = 1_000
/** One holds the lock while the other reads. */
const CONNECTIONS = 2
const TAKE_OVER_MS = 10_000

export interface SharedCheckpointOptions extends Pick<CheckpointOptions, 'origin' | 'onSigned' | 'onRefused'> {
  readonly url: string
  readonly keys: KeyWrap
  /** With each look for as long as nothing is signed for it: to be put on record once, by whichever instance. */
  readonly onTampered: (found: FoundTampering) => void
  /** The one that the process before knew last; undefined when there is none. */
  readonly kept: string | undefined
  /** A newer one than before, whoever signed it. */
  readonly keep: (note: string) => void
}

export function startPostgresCheckpoints(
  options: SharedCheckpointOptions,
): Checkpoints & { keyChain(): string | undefined } {
  const { url, keys, origin, kept } = options
  const postgres = createPostgres({ url, connectionsMax: CONNECTIONS, applicationName: 'ev-central signer' })
  const signer = createPostgresSigner({ postgres, keys, origin, kept })
  let phase: CheckpointStatus['phase'] = 'following'
  let signedAt: number | undefined
  let newest: { readonly note: string | undefined; readonly size: number } = { note: undefined, size: 0 }
  /** When it was seen first. */
  let newestSince = 0
  /** Of the newest one that the witnesses' client was given. */
  let handedOn = 0
  let lastError: string | null = null
  let lastEventId = 0
  let waitingSince: number | undefined
  const refused = new Set<string>()
  let running: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  async function step(): Promise<void> {
    const startedAt = performance.now()
    const outcome = await signer.sign()
    if (outcome.kind === 'tampered') stopFor(outcome.found, outcome.last, startedAt)
    else if (outcome.kind === 'signed' || outcome.kind === 'nothing-new') follow(outcome, startedAt)
    else if (outcome.kind === 'unavailable') lastError = outcome.detail
    else {
      phase = 'refused'
      lastError = `${outcome.cause}: ${outcome.detail}`
      if (!refused.has(outcome.cause)) options.onRefused(outcome.cause, outcome.detail)
      refused.add(outcome.cause)
    }
  }

  /** Others have to be shown what was signed before. */
  function stopFor(found: FoundTampering, last: Outcome, startedAt: number): void {
    if ('note' in last) follow(last, startedAt)
    phase = 'tampered'
    lastError = `event ${found.id}: ${found.detail}`
    options.onTampered(found)
  }

  function follow({ kind, size, note }: Extract<Outcome, { size: number }>, startedAt: number): void {
    const isFound = newest.note === undefined
    const before = newest.size
    if (size > newest.size) {
      newestSince = startedAt
      options.keep(note)
    }
    phase = 'following'
    lastError = null
    if (kind === 'signed' || (!isFound && size > newest.size)) signedAt = Date.now()
    newest = { note, size }
    // What another holds the lock for may never be signed: only a new checkpoint ends the waiting.
    if (size >= lastEventId) waitingSince = undefined
    else if (kind === 'signed' || size > before || waitingSince === undefined) waitingSince = startedAt
    const witnessed = signer.witnessed()
    if (witnessed !== undefined) handOn(witnessed.note, witnessed.size)
    if (kind === 'signed' || isFound || startedAt - newestSince > TAKE_OVER_MS) handOn(note, size)
  }

  function handOn(note: string, size: number): void {
    if (size <= handedOn) return
    handedOn = size
    options.onSigned?.(note)
  }

  function run(): Promise<void> {
    clearTimeout(timer)
    running ??= step()
      .catch(error => {
        lastError = error.message
      })
      .finally(() => {
        running = undefined
        if (phase !== 'stopped') timer = setTimeout(run, INTERVAL_MS).unref()
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
    keyChain() {
      const chain = signer.chain()
      return chain && formatKeyChain(chain)
    },
    status: () => ({
      phase,
      size: newest.size,
      signedAt,
      watched: placeOf(signer.watched()),
      unsignedMs: waitingSince === undefined ? 0 : performance.now() - waitingSince,
      lastError,
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
    signManifest: async manifest => (phase === 'following' ? signer.signManifest(manifest) : undefined),
    finish,
    async close() {
      if (phase !== 'stopped') await finish()
      await postgres.close()
    },
  }
}

/** Undefined before the first look. */
function placeOf(watched: WatchState | undefined): CheckpointStatus['watched'] {
  return watched && { through: watched.bundle * TILE_WIDTH, rounds: watched.rounds }
}
