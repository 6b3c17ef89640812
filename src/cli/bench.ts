/** `bench`: the benchmarks of a checkout, as `npm run bench` runs them. The published package does not hold them. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { EXIT, UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'
import { stopRequest } from './signals.ts'

/** Of src/cli as of dist/cli. */
const BENCHMARKS = fileURLToPath(new URL('../../bench/main.ts', import.meta.url))

interface BenchOptions {
  readonly quick?: boolean
  readonly postgres?: boolean
}

export function benchCommand(shell: Shell): Command {
  return new Command('bench')
    .description('Measure what docs/performance.md claims, on this machine. In a checkout only.')
    .argument('[name...]', 'the benchmarks to run (otherwise all)')
    .option('--quick', 'in about a minute; the full run takes about twenty, and 8 GB of disk')
    .option('--postgres', 'the shared store and nothing else, with a server of its own')
    .addHelpText(
      'after',
      `
Prints a table and writes bench-result.json into the checkout. Uses folders of its own, never the data folder.

Examples:
  ev-central bench --quick
  ev-central bench login`,
    )
    .action((names: string[], options: BenchOptions) => bench(names, options, shell))
}

/** In a process of its own: what it measures starts with an empty heap, and it reads no settings. */
async function bench(names: readonly string[], options: BenchOptions, shell: Shell): Promise<void> {
  if (!existsSync(BENCHMARKS))
    throw new UsageError('the benchmarks are in a checkout of the source, not in this package')
  using stop = stopRequest()
  const flags = [...(options.quick ? ['--quick'] : []), ...(options.postgres ? ['--postgres'] : [])]
  const child = spawn(process.execPath, ['--v8-pool-size=0', BENCHMARKS, ...flags, ...names], { stdio: 'inherit' })
  stop.signal.addEventListener('abort', () => child.kill())
  const [code] = await once(child, 'exit')
  shell.exitCode = code === 0 ? EXIT.ok : code === EXIT.usage ? EXIT.usage : EXIT.failed
}
