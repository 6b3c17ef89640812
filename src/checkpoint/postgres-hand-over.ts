/**
 * Hand-overs of the keys of a log in PostgreSQL: under the lock of all signers, at the size of the last checkpoint. So from the commit
 * on every instance signs with the new ones, and none with the old.
 */
import { currentKeys, type KeyChain } from '../evidence/key-chain.ts'
import type { Postgres, Session } from '../postgres/postgres.ts'
import { findOtherMlDsa } from '../store/postgres-instances.ts'
import { lock, type Stored, tryLock } from './postgres-checkpoints.ts'
import { beginSharedChain, handOverShared, type KeyWrap, refuseOtherOrigin } from './postgres-keys.ts'
import { DAMAGED, type SeenCheckpoint, soundLast } from './postgres-seen.ts'
import { readWatch } from './postgres-watch.ts'
import { unusable } from './signing-keys.ts'

export interface HandOverDeps {
  readonly keys: KeyWrap
  readonly origin: string | undefined
  readonly withMlDsa44: boolean
  readonly recordHandOver: (session: Session, note: string) => Promise<void>
  readonly onDisagreement: (journalId: string) => void
  readonly postgres: Postgres
  readonly seen: SeenCheckpoint
  readonly readStored: (session: Session) => Promise<Stored>
}

export function createHandOvers(deps: HandOverDeps) {
  const { keys, withMlDsa44, postgres, seen, readStored } = deps
  const tell = tellOnce(deps.onDisagreement)

  async function read(session: Session) {
    const before = seen.now()
    const stored = await readStored(session)
    return { chain: stored.chain, last: soundLast(stored, before) }
  }

  /** Whoever gets the lock next finds other keys, or nothing of it. */
  async function handOver(
    session: Session,
    { chain, last }: Awaited<ReturnType<typeof read>>,
    toMlDsa44: boolean,
  ): Promise<KeyChain> {
    if (chain === undefined) throw unusable('the log has none yet; the first start makes them')
    if ('kind' in last) throw unusable('the last checkpoint is not one that could be gone on from')
    if ((await readWatch(session)).tampered !== undefined)
      throw unusable('the trail was changed, and nothing is signed until it is as it was')
    const handedOver = await handOverShared(session, keys, chain, { size: last.size, withMlDsa44: toMlDsa44 })
    await deps.recordHandOver(session, handedOver.note)
    return handedOver.chain
  }

  return {
    begin: () =>
      postgres.transaction(async session => {
        await lock(session)
        const { chain, last } = await readStored(session)
        if (last === 'damaged') throw unusable(DAMAGED)
        const begun = chain ?? (await beginSharedChain(session, keys, deps))
        refuseOtherOrigin(begun, deps.origin)
        return { chain: begun, isNew: chain === undefined }
      }),
    rotate: () =>
      postgres.transaction(async session => {
        await lock(session)
        const stored = await read(session)
        return handOver(session, stored, stored.chain !== undefined && hasMlDsa44(stored.chain))
      }),
    /** Because of the setting. Asked in the transaction that does it, as instances come and go. @param known as of the last look */
    async followSetting(known: KeyChain | undefined): Promise<void> {
      if (known === undefined || hasMlDsa44(known) === withMlDsa44) return
      const other = await postgres.transaction(async session => {
        if (!(await tryLock(session))) return undefined // a second later
        const stored = await read(session)
        if (stored.chain === undefined || hasMlDsa44(stored.chain) === withMlDsa44) return undefined
        const journalId = await findOtherMlDsa(session, withMlDsa44)
        if (journalId === undefined) await handOver(session, stored, withMlDsa44)
        return journalId
      })
      tell(other)
    },
  }
}

const hasMlDsa44 = (chain: KeyChain) => currentKeys(chain).mlDsa44 !== undefined

/** Of each instance once, and when it is found twice in a row: it may just be starting. */
function tellOnce(onDisagreement: (journalId: string) => void): (other: string | undefined) => void {
  let before: string | undefined
  const told = new Set<string>()
  return other => {
    const isLasting = other !== undefined && other === before
    before = other
    if (!isLasting || told.has(other)) return
    told.add(other)
    onDisagreement(other)
  }
}
