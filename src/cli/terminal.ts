/**
 * Where a command's words go: results to stdout, everything about the work itself to stderr.
 *
 * Colours and progress only on a terminal. A reader that goes away (`| head`) ends the work quietly: nothing is written
 * any more and `outputClosed` says so to whoever is still working.
 */
import { styleText } from 'node:util'

export interface Terminal {
  /** A line of results. */
  print(line?: string): void
  /** Results as they are; resolves when the reader has room for more. */
  write(text: string): Promise<void>
  /** A line about the work, on stderr. */
  note(line: string): void
  /** Shows how far long work has come, on one line of stderr that is written over. Nothing in a pipe. */
  progress(line: string): void
  /** Ends the line of `progress`. */
  progressDone(): void
  /** Empties the screen, on a terminal. */
  clear(): void
  paint(style: Style, text: string): string
  readonly isInteractive: boolean
  /** Characters in a line; unbounded in a pipe. */
  readonly columns: number
  /** Aborted once nobody reads stdout any more. */
  readonly outputClosed: AbortSignal
}

export type Style = 'bold' | 'dim' | 'red' | 'yellow' | 'green' | 'cyan'

/** What a stream of the process is, on a terminal or not. */
export interface Output extends NodeJS.WritableStream {
  readonly isTTY?: boolean
  readonly columns?: number
}

type Environment = Readonly<Record<string, string | undefined>>

export function createTerminal(stdout: Output, stderr: Output, env: Environment): Terminal {
  const closed = new AbortController()
  stdout.on('error', () => closed.abort()) // EPIPE, or a full disk behind a redirection: either way nobody gets the rest
  stderr.on('error', () => {})
  const isInteractive = stdout.isTTY === true
  const isColoured = isInteractive && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb'
  const showsProgress = stderr.isTTY === true && env.TERM !== 'dumb'

  const send = (text: string): boolean => closed.signal.aborted || stdout.write(text)

  return {
    print: (line = '') => void send(`${line}\n`),
    write(text) {
      if (send(text) || closed.signal.aborted) return Promise.resolve()
      return new Promise(resolve => {
        const goOn = () => {
          stdout.off('drain', goOn)
          closed.signal.removeEventListener('abort', goOn)
          resolve()
        }
        stdout.on('drain', goOn)
        closed.signal.addEventListener('abort', goOn)
      })
    },
    note: line => void stderr.write(`${line}\n`),
    progress(line) {
      if (showsProgress) stderr.write(`\r\u001b[K${line.slice(0, (stderr.columns ?? 80) - 1)}`)
    },
    progressDone() {
      if (showsProgress) stderr.write('\r\u001b[K')
    },
    clear() {
      if (isInteractive) send('\u001b[2J\u001b[H')
    },
    paint: (style, text) => (isColoured ? styleText(style, text, { validateStream: false }) : text),
    isInteractive,
    get columns() {
      return isInteractive ? (stdout.columns ?? 80) : Number.POSITIVE_INFINITY
    },
    outputClosed: closed.signal,
  }
}
