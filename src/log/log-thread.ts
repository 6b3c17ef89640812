/**
 * Entry of a log builder's thread: answers each `finish` with the growth of the rows since the one before (log-host.ts). Every few
 * seconds, between messages, it makes its files survive a power loss, so that no batch waits for a disk, and when it is asked to, at the
 * end; what was not synced the next start looks at (store/log-repair.ts). More often would only make the journal's fsyncs wait.
 */
import { open } from 'node:fs/promises'
import { workerData } from 'node:worker_threads'
import { parseEntry } from '../event/codec.ts'
import { createDetachedLogBuilder, createLogBuilder } from './log-builder.ts'
import { openLogFiles } from './log-files.ts'
import { ANSWERED, type LogAnswer, type LogMessage, type LogThreadData, TAKEN } from './log-protocol.ts'

const SYNC_INTERVAL_MS = 5_000
/** So many are not left to the next start to look at. */
const SYNC_ENTRIES = 65_536

const { root, turns: shared, port } = workerData as LogThreadData
const turns = new Int32Array(shared)
const files = root === undefined ? undefined : openLogFiles(root)
let syncedSize = 0
let syncing: Promise<void> | undefined
let canSync = true
let syncedAt = performance.now()
/** Counts the times that a batch was given up, as what was written for it may be on disk and not be what is written anew. */
let resumed = 0
const builder = files === undefined ? createDetachedLogBuilder() : createLogBuilder(files, () => syncedSize)
/** Of a batch that cannot be finished any more, also when it could not begin: told by `finish`, as the host waits for nothing else. */
let failure: unknown

port.on('message', (message: LogMessage) => {
  if (message === 'close') {
    builder.close()
    port.close()
  } else if (message === 'finish') finish()
  else if (message === 'sync') void syncAll()
  else take(message)
})

function take(message: Exclude<LogMessage, string>): void {
  if ('resume' in message) {
    failure = undefined
    resumed++
    syncedSize = message.resume.syncedSize
    attempt(() => builder.resume(message.resume))
    return
  }
  const { firstId, createdAt, records, isLast } = message
  attempt(() => {
    for (const [n, record] of records.entries()) {
      builder.add({ id: firstId + n, createdAt, event: parseEntry(record).event })
    }
  })
  count(TAKEN)
  if (isLast) finish()
}

function attempt(work: () => void): void {
  try {
    if (failure === undefined) work()
  } catch (error) {
    failure = error
  }
}

function finish(): void {
  attempt(() => {
    answer({ growth: builder.finish() })
    if (isSyncDue()) syncing ??= sync().finally(() => (syncing = undefined))
  })
  if (failure === undefined) return
  const { message, code, syscall } = failure as NodeJS.ErrnoException
  answer({ failed: { message, code, syscall } })
}

function isSyncDue(): boolean {
  const entries = (builder.size ?? 0) - syncedSize
  return files !== undefined && canSync && (entries >= SYNC_ENTRIES || performance.now() - syncedAt >= SYNC_INTERVAL_MS)
}

function answer(what: LogAnswer): void {
  port.postMessage(what)
  count(ANSWERED)
}

function count(turn: typeof ANSWERED | typeof TAKEN): void {
  Atomics.add(turns, turn, 1)
  Atomics.notify(turns, turn)
}

async function syncAll(): Promise<void> {
  await syncing
  if (canSync && syncedSize < (builder.size ?? 0)) await sync()
  answer({ syncedSize })
}

/** After a failure nothing counts as synced any more: the next start looks at those files (log-repair.ts). */
async function sync(): Promise<void> {
  const size = builder.size ?? 0
  const turn = resumed
  syncedAt = performance.now()
  try {
    for (const path of files?.takeUnsynced() ?? []) {
      const file = await open(path)
      await file.sync().finally(() => file.close())
    }
    if (turn === resumed) syncedSize = size
  } catch {
    canSync = false
  }
}
