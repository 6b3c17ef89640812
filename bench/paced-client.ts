/**
 * Sends requests at a steady rate over kept-alive connections, in a process of its own, and measures each to the
 * microsecond, from its sending to its answer: `node bench/paced-client.ts`, told what by its parent over IPC.
 */
import { connect, type Socket } from 'node:net'
import { percentile } from './table.ts'

export interface Pace {
  readonly url: string
  readonly path: string
  /** JSON bodies, sent in turn. */
  readonly bodies: readonly string[]
  readonly connections: number
  readonly perSecond: number
  readonly seconds: number
}

export interface Paced {
  readonly requests: number
  /** Answers other than 200. */
  readonly refused: number
  readonly p50Ms: number
  readonly p99Ms: number
}

const TICK_MS = 1

process.on('message', async (pace: Pace) => process.send?.(await run(pace)))

async function run({ url, path, bodies, connections, perSecond, seconds }: Pace): Promise<Paced> {
  const { hostname, port, host } = new URL(url)
  const requests = bodies.map(body =>
    Buffer.from(
      `POST ${path} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    ),
  )
  const times: number[] = []
  let refused = 0
  const free: { socket: Socket; sentAt: number }[] = []
  const opened = Array.from({ length: connections }, async () => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true })
    const connection = { socket, sentAt: 0 }
    socket.on('data', (chunk: Buffer) => {
      times.push(performance.now() - connection.sentAt) // one request at a time, and its answer fits one packet
      if (!chunk.subarray(0, 12).equals(OK)) refused++
      free.push(connection)
    })
    await new Promise(resolve => socket.once('connect', resolve))
    free.push(connection)
    return socket
  })
  const sockets = await Promise.all(opened)
  const started = performance.now()
  let sent = 0
  await new Promise<void>(resolve => {
    const timer = setInterval(() => {
      const elapsed = (performance.now() - started) / 1000
      if (elapsed >= seconds) {
        clearInterval(timer)
        setTimeout(resolve, 100)
        return
      }
      while (sent < elapsed * perSecond) {
        const connection = free.shift()
        if (connection === undefined) return
        connection.sentAt = performance.now()
        connection.socket.write(requests[sent++ % requests.length] as Buffer)
      }
    }, TICK_MS)
  })
  for (const socket of sockets) socket.destroy()
  const sorted = Float64Array.from(times).sort()
  return { requests: times.length, refused, p50Ms: percentile(sorted, 0.5), p99Ms: percentile(sorted, 0.99) }
}

const OK = Buffer.from('HTTP/1.1 200')
