/** Looks for text in every file below a folder, as bytes, also in those of SQLite. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Files that hold any of the texts, with the first one and where. */
export function filesHolding(folder: string, ...texts: string[]): string[] {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  return files.flatMap(({ parentPath, name }) => {
    const bytes = readFileSync(join(parentPath, name))
    const text = texts.find(wanted => bytes.includes(wanted))
    return text === undefined ? [] : [`${join(parentPath, name)}: ${text} at ${bytes.indexOf(text)}`]
  })
}
