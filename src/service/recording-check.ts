/**
 * Whether an event handed to the journal now would be on disk soon: what strict changes ask before they touch anything
 * (security/failure-policy.ts). Owns no state.
 *
 * Three questions, as each finds what the others miss: its last write or fsync failed; an fsync hangs, so what it took is
 * not on disk within a second; nothing was written since the disk filled up.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { LIMITS } from '../limits.ts'
import type { DataFolder } from './data-folder.ts'
import { freeBytes } from './free-bytes.ts'
import type { Pipeline } from './pipeline.ts'

const DURABLE_WITHIN_MS = 1_000
const LOOK_MS = 10

export function createRecordingCheck(deps: {
  pipeline: Pick<Pipeline, 'status'>
  folder: Pick<DataFolder, 'journalDirectory'>
}): () => Promise<boolean> {
  const { pipeline, folder } = deps
  const journal = () => pipeline.status().journal

  /** Not the acknowledgement time-out, which is about how long an answer waits: a slow disk is no broken one. */
  async function becomesDurable(sequence: number): Promise<boolean> {
    const deadline = performance.now() + DURABLE_WITHIN_MS
    while (journal().durableSequence < sequence) {
      if (journal().phase !== 'open' || performance.now() > deadline) return false
      await delay(LOOK_MS)
    }
    return true
  }

  return async () => {
    if (journal().phase !== 'open' || !(await becomesDurable(journal().appendedSequence))) return false
    return (await freeBytes(folder.journalDirectory)) >= LIMITS.journalFreeBytesMin && journal().phase === 'open'
  }
}
