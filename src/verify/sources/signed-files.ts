/**
 * The signed files beside the tiles, the same in a data folder and in a mirror: `checkpoint`, `checkpoints`, `keys`. Somebody may be
 * writing them, one after the other; what is read has to be of one moment.
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseCheckpoint } from '../../evidence/checkpoint.ts'
import { parseNote } from '../../evidence/note.ts'
import { LIMITS } from '../../limits.ts'
import { readHistory } from '../chain.ts'
import type { Overview } from '../source.ts'
import { UnreadableSource } from './log-database.ts'
import { readTextFile } from './pack-files.ts'

export type SignedFiles = Pick<Overview, 'checkpoint' | 'history' | 'keys'>

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
      history: readTextFile(join(root, 'checkpoints'), LIMITS.checkpointHistoryBytesMax),
      keys: readTextFile(join(root, 'keys'), LIMITS.keyChainBytesMax),
    }
  } catch (error) {
    throw new UnreadableSource((error as Error).message, { cause: error })
  }
}

/** Nothing was written between two looks, and the history is not ahead of the newest checkpoint. */
function isOfOneMoment(files: SignedFiles, again: SignedFiles): boolean {
  const isSame = files.checkpoint === again.checkpoint && files.history === again.history && files.keys === again.keys
  const last = readHistory((files.history ?? '').slice(-LIMITS.noteCharactersMax)).notes.at(-1)
  return isSame && sizeOf(last) <= sizeOf(files.checkpoint)
}

/** Leaves, as a note says; 0 when it says nothing. */
export function sizeOf(signed: string | undefined): number {
  return parseCheckpoint(parseNote(signed ?? '')?.text ?? '')?.size ?? 0
}
