/** How far long work is, as one line for a terminal. */

const BAR_CHARACTERS = 30

export function progressBar(phase: string, done: number, total: number): string {
  const share = total === 0 ? 1 : done / total
  const bar = '#'.repeat(Math.round(share * BAR_CHARACTERS)).padEnd(BAR_CHARACTERS, '.')
  return `${phase.padEnd(9)} [${bar}] ${Math.floor(share * 100)}%`
}
