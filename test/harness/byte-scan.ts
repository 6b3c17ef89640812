/** Looks for text in every file below a folder, as bytes, also in those of SQLite, and in what is packed. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { constants, gunzipSync } from 'node:zlib'

/** Files that hold any of the texts, with the first one and where. */
export function filesHolding(folder: string, ...texts: string[]): string[] {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  return files.flatMap(({ parentPath, name }) => {
    const stored = readFileSync(join(parentPath, name))
    const bytes = Buffer.concat([stored, unpacked(stored)])
    const text = texts.find(wanted => bytes.includes(wanted))
    return text === undefined ? [] : [`${join(parentPath, name)}: ${text} at ${bytes.indexOf(text)}`]
  })
}

/** Of gzip, whatever the file is called. */
function unpacked(bytes: Buffer): Buffer {
  return bytes[0] === 0x1f && bytes[1] === 0x8b
    ? gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH })
    : Buffer.alloc(0)
}
