/**
 * The signed files beside the tiles, the same in a data folder and in a mirror: `checkpoint`, `witnessed`, `checkpoints`, `keys`.
 * Somebody may be writing them, one after the other; what is read has to be of one moment.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseSignedCheckpoint } from '../../evidence/checkpoint.ts'
import { LIMITS } from '../../limits.ts'
import { readHistory } from '../chain.ts'
import type { Overview } from '../source.ts'
import { UnreadableSource } from './log-database.ts'
import { readTextFile } from './pack-files.ts'

export type SignedFiles = Pick<Overview, 'checkpoint' | 'witnessed' | 'history' | 'keys'>

const TRIES_MAX = 20
const TRY_AGAIN_MS = 50

/** What does not settle is handed over as it is: then it is not a matter of moments. @throws {UnreadableSource} */
export async function readSignedFiles(root: string): Promise<SignedFiles> {
  for (let tries = 1; ; tries++) {
    const files = readOnce(root)
    if (isOfOneMoment(files, readOnce(root)) || tries === TRIES_MAX) return files
    await sleep(TRY_AGAIN_MS)
  }
}

function readOnce(root: string): SignedFiles {
  try {
    return {
      checkpoint: readTextFile(join(root, 'checkpoint'), LIMITS.noteCharactersMax),
      witnessed: readTextFile(join(root, 'witnessed'), LIMITS.noteCharactersMax),
      history: readTextFile(join(root, 'checkpoints'), LIMITS.checkpointHistoryBytesMax),
      keys: readTextFile(join(root, 'keys'), LIMITS.keyChainBytesMax),
    }
  } catch (error) {
    throw new UnreadableSource((error as Error).message, { cause: error })
  }
}

/** Nothing was written between two looks, and neither the history nor what is witnessed is ahead of the newest checkpoint. */
function isOfOneMoment(files: SignedFiles, again: SignedFiles): boolean {
  const isSame = (['checkpoint', 'witnessed', 'history', 'keys'] as const).every(name => files[name] === again[name])
  const last = readHistory((files.history ?? '').slice(-LIMITS.noteCharactersMax)).notes.at(-1)
  return isSame && Math.max(sizeOf(last), sizeOf(files.witnessed)) <= sizeOf(files.checkpoint)
}

/** Leaves, as a note says; 0 when it says nothing. */
export function sizeOf(signed: string | undefined): number {
  return parseSignedCheckpoint(signed ?? '')?.size ?? 0
}
