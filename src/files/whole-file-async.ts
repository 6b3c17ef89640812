/** As whole-file.ts, for a thread that has other things to do meanwhile. */
import { constants, type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Crash before the rename: the old content, and a draft that is removed next time. After it: the new content. */
export async function replaceFile(path: string, content: string): Promise<void> {
  const draft = `${path}.draft`
  await rm(draft, { force: true })
  await writeNew(draft, async file => void (await file.writeFile(content)))
  await rename(draft, path)
  await syncPath(dirname(path))
}

/** A file of mode 0600; its bytes are on disk when this resolves, its name once the folder is synced. */
export async function writeNew(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  try {
    await write(file)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** The entries of a folder, or the bytes of a file. */
export async function syncPath(path: string): Promise<void> {
  const file = await open(path, constants.O_RDONLY)
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
