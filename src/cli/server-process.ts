/**
 * A server as a process: it runs until a signal asks it to stop, stops gracefully, and never just dies.
 *
 *   first SIGINT or SIGTERM     stop accepting, finish, drain, exit 0; after 10 s exit 1
 *   another, 1 s or more later  exit 1 at once; the next start recovers and records UNCLEAN_STOP
 *   an error nobody caught      logged at fatal level, then as for the first signal, but exit 1
 */
import { setFlagsFromString } from 'node:v8'
import { type DestinationStream, type Logger, pino } from 'pino'
import { loggableError } from '../audit/redaction.ts'
import { type Central, startCentral } from '../service/central.ts'
import type { Settings } from '../settings/settings.ts'
import { EXIT, type ExitCode } from './outcome.ts'
import { stopRequest } from './signals.ts'

/** As promised to whoever runs us: a stop takes no longer. */
export const STOP_MS_MAX = 10_000
const LINGER_MS_MAX = 2_000
/**
 * How far the old generation may grow over what the last collection left in it, in percent; left to itself V8 lets it
 * grow several times over. In an overload, objects that live for a few hundred milliseconds end up there at 8 MB a collection:
 * with this the process grows by some 50 MB, without it by more than 150. A full collection every second or so is the price.
 */
const HEAP_GROWING_PERCENT = 20

/**
 * Starts the server and serves until `work` ends or something asks to stop.
 * @param work runs beside the server; the signal it gets says when to end.
 */
export async function runServer(
  settings: Settings,
  work: (central: Central, logger: Logger, stopping: AbortSignal) => Promise<void>,
): Promise<ExitCode> {
  const destination = pino.destination({ dest: 2, sync: false })
  destination.on('error', () => {}) // nobody reads stderr any more; serving goes on
  const logger = createLogger(settings, destination)
  const flush = () => flushLog(destination)
  using stop = stopRequest(flush)
  using crash = crashRequest(logger)

  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`)
  // The young generation of this thread has the bound of the command line by now. Left set, that would take the place of the
  // smaller ones of the threads that start from here on.
  setFlagsFromString('--max-semi-space-size=0')
  const central = await startCentral(settings, logger).catch(error => {
    flush()
    throw error
  })
  try {
    await work(central, logger, AbortSignal.any([stop.signal, crash.signal]))
  } finally {
    logger.info('stopping')
    const watchdog = setTimeout(() => {
      logger.fatal('the stop took too long and was cut short')
      flush()
      process.exit(EXIT.failed)
    }, STOP_MS_MAX)
    await central.stop()
    clearTimeout(watchdog)
    logger.info('stopped')
    flush()
  }
  const exitCode = crash.signal.aborted ? EXIT.failed : EXIT.ok
  setTimeout(() => process.exit(exitCode), LINGER_MS_MAX).unref() // all is stopped; what still keeps us is not ours
  return exitCode
}

function createLogger(settings: Settings, destination: DestinationStream): Logger {
  const serializers = { err: (error: unknown) => (error instanceof Error ? loggableError(error) : error) } // pino's shows whole messages
  return pino({ level: settings.logLevel, base: { name: 'ev-central' }, serializers }, destination)
}

/** Before an exit that does not wait for the event loop. */
function flushLog(destination: { flushSync(): void }): void {
  try {
    destination.flushSync()
  } catch {
    // not open yet, or gone
  }
}

/** Aborted by an error that nobody caught; only the first one counts. */
function crashRequest(logger: Logger): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController()
  const onError = (error: unknown) => {
    logger.fatal({ err: loggableError(error) }, 'an error that nobody caught; stopping')
    controller.abort()
  }
  process.on('uncaughtException', onError)
  process.on('unhandledRejection', onError)
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      process.off('uncaughtException', onError)
      process.off('unhandledRejection', onError)
    },
  }
}
