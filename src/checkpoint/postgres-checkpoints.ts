/**
 * Checkpoints of a log in PostgreSQL, seen from one of its instances: looks once a second whether there is something to sign, and
 * knows the newest checkpoint whoever signed it. What may be signed is decided in postgres-signer.ts.
 *
 * Owns its sessions and the newest checkpoint in memory. Must not delay a request. Phases as in checkpoint-host.ts, without
 * `tampered`: this version does not read a trail in PostgreSQL again by itself.
 */
import { formatKeyChain } from '../evidence/key-chain.ts'
import { parseNote } from '../evidence/note.ts'
import { createPostgres } from '../postgres/postgres.ts'
import type { CheckpointOptions, CheckpointStatus, Checkpoints } from './checkpoint-host.ts'
import type { KeyWrap } from './postgres-keys.ts'
import { createPostgresSigner } from './postgres-signer.ts'
import type { Outcome } from './signer.ts'

const INTERVAL_MS = 1_000
/** One holds the lock while the other reads. */
const CONNECTIONS = 2

export function startPostgresCheckpoints(
  options: Pick<CheckpointOptions, 'origin' | 'onSigned' | 'onRefused'> & { url: string; keys: KeyWrap },
): Checkpoints & { keyChain(): string | undefined } {
  const { url, keys, origin } = options
  const postgres = createPostgres({ url, connectionsMax: CONNECTIONS, applicationName: 'ev-central signer' })
  const signer = createPostgresSigner({ postgres, keys, origin })
  let phase: CheckpointStatus['phase'] = 'following'
  let signedAt: number | undefined
  let newest: { readonly note: string | undefined; readonly size: number } = { note: undefined, size: 0 }
  let lastError: string | null = null
  let lastEventId = 0
  let waitingSince: number | undefined
  const refused = new Set<string>()
  let running: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined

  async function step(): Promise<void> {
    const startedAt = performance.now()
    const outcome = await signer.sign()
    if (outcome.kind === 'signed' || outcome.kind === 'nothing-new') follow(outcome, startedAt)
    else if (outcome.kind === 'unavailable') lastError = outcome.detail
    else {
      phase = 'refused'
      lastError = `${outcome.cause}: ${outcome.detail}`
      if (!refused.has(outcome.cause)) options.onRefused(outcome.cause, outcome.detail)
      refused.add(outcome.cause)
    }
  }

  /** Witnesses are asked by the instance that signed; and by each for what it finds at its start. */
  function follow({ kind, size, note }: Extract<Outcome, { size: number }>, startedAt: number): void {
    const isForWitnesses = kind === 'signed' || newest.note === undefined
    phase = 'following'
    lastError = null
    if (kind === 'signed' || (newest.note !== undefined && size > newest.size)) signedAt = Date.now()
    newest = { note, size }
    waitingSince = size < lastEventId ? startedAt : undefined
    if (isForWitnesses) options.onSigned?.(note)
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
      watched: { through: 0, rounds: 0 },
      unsignedMs: waitingSince === undefined ? 0 : performance.now() - waitingSince,
      lastError,
    }),
    indexed(id) {
      lastEventId = id
      if (id > newest.size) waitingSince ??= performance.now()
    },
    cosigned(note) {
      if (newest.note === undefined || parseNote(note)?.text !== parseNote(newest.note)?.text) return
      newest = { ...newest, note }
      signer.cosign(note).catch(() => {}) // the next one will have them
    },
    signManifest: async manifest => (phase === 'following' ? signer.signManifest(manifest) : undefined),
    finish,
    async close() {
      if (phase !== 'stopped') await finish()
      await postgres.close()
    },
  }
}
