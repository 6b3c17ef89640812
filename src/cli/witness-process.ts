/** The witness as a process: until a signal asks it to stop, exit 0. It may be killed at any time; see witness/witness.ts. */
import { pino } from 'pino'
import { formatVerifierKey } from '../evidence/note.ts'
import { VERSION } from '../service/version.ts'
import { serveWitness } from '../witness/server.ts'
import { openWitness, type Witness } from '../witness/witness.ts'
import { UsageError } from './outcome.ts'
import { aborted, stopRequest } from './signals.ts'
import type { Terminal } from './terminal.ts'
import type { WitnessOptions } from './witness.ts'

export async function runWitness({ data, log, name, host, port }: WitnessOptions, terminal: Terminal): Promise<void> {
  const destination = pino.destination({ dest: 2, sync: true })
  destination.on('error', () => {}) // nobody reads stderr any more; witnessing goes on
  const logger = pino({ base: { name: 'ev-central-witness' } }, destination)
  using stop = stopRequest()
  using witness = openWitness({ folder: data, name, logs: log, logger })
  await using server = await serveWitness(witness, host, port).catch(error => {
    throw listenFailure(error) ?? error
  })
  printBanner(witness, server.url, terminal)
  logger.info({ url: server.url, version: VERSION }, 'witnessing')
  await aborted(stop.signal)
  logger.info('stopping')
}

function printBanner(witness: Witness, url: string, terminal: Terminal): void {
  terminal.print(terminal.paint('bold', `EV Central witness ${VERSION}`))
  terminal.print(`  address  ${terminal.paint('cyan', url)}`)
  terminal.print(`  key      ${formatVerifierKey(witness.key)}`)
  terminal.print(`  folder   ${witness.folder}`)
  for (const { origin, last } of witness.logs()) {
    terminal.print(
      `  log      ${origin}, ${last === undefined ? 'nothing cosigned yet' : `cosigned up to ${last.size}`}`,
    )
  }
  terminal.print()
  terminal.print('Ctrl-C stops it.')
}

function listenFailure(error: NodeJS.ErrnoException): UsageError | undefined {
  if (error.code === 'EADDRINUSE')
    return new UsageError('the address and port are in use already; --port names another')
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND') {
    return new UsageError('--host is not an address of this machine')
  }
  return undefined
}
