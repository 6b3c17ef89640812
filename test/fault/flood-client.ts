/**
 * A process that asks for more than there is: `node flood-client.ts <url> <name> <connections> <depth> <seconds>`, what it
 * logs in with as JSON on its standard input. Every connection keeps `depth` requests under way, pipelined, until the time
 * is up; then it waits for the answers that are due, and prints one line of JSON (`Flood`).
 *
 * Ids of requests are `<name>-<connection>-<number>`; every third login is a wrong one.
 */
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'

export interface Flood {
  /** Answers by status. */
  readonly answers: Record<string, number>
  /** 503s without a Retry-After or with another code than OVERLOADED. */
  readonly wrongRefusals: number
  /** Requests whose connection ended before the answer, by the server's announcement (`Connection: close`) or without. */
  readonly unanswered: number
  /** Ids of everything that was answered with something else than 503. */
  readonly accepted: readonly string[]
}

export interface FloodLogin {
  readonly cp_id: string
  readonly credentials: string
}

if (import.meta.main) await main()

async function main(): Promise<void> {
  const [url = '', name = '', connections = '1', depth = '1', seconds = '1'] = process.argv.slice(2)
  const logins: FloodLogin[] = JSON.parse(await text(process.stdin))
  const { hostname, port } = new URL(url)
  const answers: Record<string, number> = {}
  const accepted: string[] = []
  let wrongRefusals = 0
  let unanswered = 0
  const until = performance.now() + Number(seconds) * 1000

  function request(id: string, number: number): string {
    const login = logins[number % logins.length] as FloodLogin
    const isWrong = number % 3 === 0
    const body = JSON.stringify(isWrong ? { ...login, credentials: 'f'.repeat(64) } : login)
    return `POST /auth/credentials HTTP/1.1\r\nHost: x\r\nX-Request-ID: ${id}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  }

  /** One connection after the other under one name, until the time is up. */
  function keepAsking(connection: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    let number = 0
    const open = () => {
      const due: string[] = []
      const socket: Socket = connect(Number(port), hostname)
      let received = ''
      const send = (count: number) => {
        let bytes = ''
        for (let i = 0; i < count; i++) {
          const id = `${name}-${connection}-${number}`
          bytes += request(id, number++)
          due.push(id)
        }
        if (bytes !== '') socket.write(bytes)
      }
      const take = (head: string, body: string) => {
        const status = head.slice(9, 12)
        const id = due.shift() ?? ''
        answers[status] = (answers[status] ?? 0) + 1
        if (status !== '503') accepted.push(id)
        else if (!/\r\nretry-after: \d/i.test(head) || !body.includes('"OVERLOADED"')) wrongRefusals++
      }
      socket.setEncoding('latin1')
      socket.on('connect', () => send(Number(depth)))
      socket.on('data', (chunk: string) => {
        received += chunk
        let from = 0
        let count = 0
        for (;;) {
          const end = received.indexOf('\r\n\r\n', from)
          if (end === -1) break
          const head = received.slice(from, end)
          const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
          if (received.length < end + 4 + length) break
          take(head, received.slice(end + 4, end + 4 + length))
          from = end + 4 + length
          count++
        }
        received = received.slice(from)
        if (performance.now() < until) send(count)
        else if (due.length === 0) socket.end()
      })
      socket.on('error', () => {})
      socket.on('close', () => {
        unanswered += due.length
        if (performance.now() < until) setTimeout(open, 10)
        else resolve()
      })
    }
    open()
    return promise
  }

  await Promise.all(Array.from({ length: Number(connections) }, (_, connection) => keepAsking(connection)))
  const flood: Flood = { answers, wrongRefusals, unanswered, accepted }
  process.stdout.write(`${JSON.stringify(flood)}\n`)
}
