/**
 * A signed log in a PostgreSQL, as instances leave it, made by their own parts: rows by event stores, checkpoints by signers, erasures
 * by the function of the schema. Of `instances` each has a store and a signer of its own.
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { system } from '../../src/audit/events.ts'
import { createPostgresSigner } from '../../src/checkpoint/postgres-signer.ts'
import { handOverDetails } from '../../src/checkpoint/signing-keys.ts'
import { createContext } from '../../src/context/context.ts'
import type { AuditEvent } from '../../src/event/event.ts'
import { formatVerifierKey } from '../../src/evidence/note.ts'
import type { Session } from '../../src/postgres/postgres.ts'
import { keyWrap } from '../../src/service/shared-keys.ts'
import { createPostgresEventStore } from '../../src/store/postgres-event-store.ts'
import { sampleEvent } from '../contract/event-store.ts'
import type { PostgresServer } from './postgres.ts'

export interface SignedPostgres extends AsyncDisposable {
  readonly url: string
  /** As `--key` takes it; known from the first checkpoint on. */
  key(): string
  /** By one of the instances. @returns the last id */
  append(count: number, options?: { instance?: number; event?: (n: number) => AuditEvent }): Promise<number>
  /** Signs what there is. @returns the checkpoint */
  sign(instance?: number): Promise<string>
  /** Hands over to other keys, by one of the instances, with the event that tells of it. */
  rotate(instance?: number): Promise<void>
  /** With its tombstone. @returns the id of that */
  erase(ids: readonly number[]): Promise<number>
  /** SQL of whoever owns the database. */
  run(sql: string, values?: unknown[]): Promise<Record<string, unknown>[]>
  /** The database as it is now, for which the sessions of the instances are ended: they come back by themselves. @returns its URL */
  copy(): Promise<string>
  close(): Promise<void>
}

export const ORIGIN = 'log.example/shared'
/** More than between two checkpoints that are kept. */
const APART = "interval '20 minutes'"

export async function createSignedPostgres(server: PostgresServer, instances = 2): Promise<SignedPostgres> {
  const url = await server.createDatabase()
  const keys = keyWrap(randomBytes(32))
  /** That no event tells of yet. */
  const handedOver: string[] = []
  const run = (sql: string, values?: unknown[]) => server.run(url, sql, values)
  const opened = Array.from({ length: instances }, (_, n) => {
    const source = `journal:${n}`
    const recordHandOver = async (_session: Session, note: string) => void handedOver.push(note)
    return {
      source,
      store: createPostgresEventStore({ url }),
      signer: createPostgresSigner({ url, keys, origin: ORIGIN, recordHandOver }),
    }
  })
  let key: string | undefined

  async function appendEvents(instance: number, events: readonly AuditEvent[]): Promise<number> {
    const { store, source } = opened[instance]!
    const after = await store.position(source)
    const rows = events.map(event => ({ event, onceKey: null }))
    return (await store.append({ source, after, through: after + rows.length, rows })).lastId
  }

  async function close(): Promise<void> {
    for (const { store, signer } of opened.splice(0)) {
      await store.close()
      await signer.close()
    }
  }

  return {
    url,
    run,
    key: () => key ?? assert.fail('nothing was signed yet'),
    async append(count, { instance = 0, event = sampleEvent } = {}) {
      const lastId = await opened[instance]!.store.lastId()
      return appendEvents(
        instance,
        Array.from({ length: count }, (_, n) => event(lastId + n + 1)),
      )
    },
    async sign(instance = 0) {
      const { signer } = opened[instance]!
      await signer.prepare()
      const outcome = await signer.sign()
      assert.ok('note' in outcome && outcome.note !== undefined, JSON.stringify(outcome))
      await run(`UPDATE log_checkpoints SET signed_at = signed_at - ${APART}`)
      key = formatVerifierKey(signer.keyChain()!.first)
      return outcome.note
    },
    async rotate(instance = 0) {
      await opened[instance]!.signer.rotate()
      const events = handedOver.splice(0).map(note => system('LOG_KEY_ROTATED', createContext(), handOverDetails(note)))
      await appendEvents(instance, events)
    },
    async erase(ids) {
      const sorted = [...ids].sort((a, b) => a - b)
      const metadata = {
        count: sorted.length,
        ids_sha256: createHash('sha256').update(sorted.join('\n')).digest('hex'),
      }
      const tombstone = await appendEvents(0, [system('ERASED', createContext(), { metadata })])
      await run('SELECT evc_erase_events($1::bigint[], $2)', [sorted, tombstone])
      return tombstone
    },
    async copy() {
      await run(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
      )
      return server.copyDatabase(url)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
