/** Bytes of a journal that rot while nobody looks. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { measureFrame, SEGMENT_HEADER_BYTES } from '../../src/journal/frame.ts'
import { listFolder } from '../../src/journal/segment-folder.ts'
import type { Random } from './random.ts'

/**
 * Flips a bit behind a header. Not in the very last record: damage there cannot be told from an unfinished write, which is
 * cut and counted, and its number is given again.
 */
export function damageJournal(directory: string, random: Random): void {
  const { segments } = listFolder(directory)
  const name = random.pick(segments)
  const path = join(directory, name)
  const bytes = readFileSync(path)
  const end = name === segments.at(-1) ? lastFrameOf(bytes) : bytes.length
  if (end <= SEGMENT_HEADER_BYTES) return
  const at = random.between(SEGMENT_HEADER_BYTES, end - 1)
  bytes[at] = (bytes[at] as number) ^ (1 << random.between(0, 7))
  writeFileSync(path, bytes)
}

/** Where the last whole frame begins. */
function lastFrameOf(bytes: Buffer): number {
  let last = SEGMENT_HEADER_BYTES
  for (let at = SEGMENT_HEADER_BYTES; at < bytes.length; ) {
    const size = measureFrame(bytes, at, bytes.length)
    if (size <= 0) break
    last = at
    at += size
  }
  return last
}
