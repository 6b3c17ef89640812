/** Vectors of other projects beside the repository: read where they are, never copied. Absent elsewhere. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'

export function sharedVectors(folder: string): { path: string; skip: string | false } {
  const path = join(import.meta.dirname, '..', '..', '..', '..', 'shared', 'vectors', folder)
  return { path, skip: existsSync(path) ? false : `${path} is not here` }
}
