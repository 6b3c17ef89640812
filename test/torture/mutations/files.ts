/** How mutations write into files. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import type { Random } from '../random.ts'

export function flipByte(path: string, at: number, random: Random): void {
  const bytes = readFileSync(path)
  bytes[at] = bytes[at]! ^ (1 << random.between(0, 7))
  writeFileSync(path, bytes)
}

/** One letter or digit becomes another. */
export function changeCharacter(text: string, random: Random): string {
  const at = random.pick([...text.matchAll(/[A-Za-z0-9]/g)].map(({ index }) => index))
  const others = 'ABCxyz0189'.replace(text[at]!, '')
  return text.slice(0, at) + random.pick([...others]) + text.slice(at + 1)
}

export function cut(path: string, bytes: number): void {
  truncateSync(path, bytes)
}
