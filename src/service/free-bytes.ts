import { statfs } from 'node:fs/promises'

/** Room on the disk of a folder. 0: it cannot be asked, and so not be written either. */
export async function freeBytes(folder: string): Promise<number> {
  try {
    const disk = await statfs(folder)
    return disk.bavail * disk.bsize
  } catch {
    return 0
  }
}
