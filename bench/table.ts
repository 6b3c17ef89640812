/** Figures of a run: printed as a table, written as JSON. */
import { writeFileSync } from 'node:fs'
import { arch, cpus, platform, totalmem } from 'node:os'

export interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** What it has to meet: `>=` or `<=` a number; none for a figure that only informs. */
  readonly goal?: readonly ['>=' | '<=', number]
}

function meets(figure: Figure): boolean | undefined {
  if (figure.goal === undefined) return undefined
  return figure.goal[0] === '>=' ? figure.value >= figure.goal[1] : figure.value <= figure.goal[1]
}

export function percentile(sorted: ArrayLike<number>, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return percentile(
    [...values].sort((a, b) => a - b),
    0.5,
  )
}

const round = (value: number) => Number(value.toPrecision(4))

export function printFigures(figures: readonly Figure[], file: string): void {
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: platform(),
    arch: arch(),
    node: process.version,
  }
  const rows = figures.map(figure => ({
    figure: figure.name,
    value: `${round(figure.value)} ${figure.unit}`,
    goal: figure.goal === undefined ? '' : `${figure.goal[0]} ${figure.goal[1]}`,
    met: { true: 'yes', false: 'NO', undefined: '' }[String(meets(figure))] ?? '',
  }))
  const width = (key: keyof (typeof rows)[number]) => Math.max(key.length, ...rows.map(row => row[key].length))
  const line = (row: { figure: string; value: string; goal: string; met: string }) =>
    `| ${row.figure.padEnd(width('figure'))} | ${row.value.padEnd(width('value'))} | ${row.goal.padEnd(width('goal'))} | ${row.met.padEnd(width('met'))} |`
  console.log(`\n${machine.cores} x ${machine.cpu}, ${machine.memoryGiB} GiB, Node ${machine.node}\n`)
  console.log(line({ figure: 'figure', value: 'value', goal: 'goal', met: 'met' }))
  console.log(
    line({
      figure: '-'.repeat(width('figure')),
      value: '-'.repeat(width('value')),
      goal: '-'.repeat(width('goal')),
      met: '-'.repeat(width('met')),
    }),
  )
  for (const row of rows) console.log(line(row))
  writeFileSync(
    file,
    `${JSON.stringify({ machine, at: new Date().toISOString(), figures: figures.map(figure => ({ ...figure, met: meets(figure) })) }, null, 2)}\n`,
  )
  console.log(`\nwritten to ${file}`)
}
