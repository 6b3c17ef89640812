/** The way to a server, as a test may cut it: a TCP proxy on 127.0.0.1 that hands bytes on, or not. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface Network {
  /** The same URL through this proxy. */
  readonly url: string
  /** From now on nothing gets through and nobody is told; later connections are taken and never answered. */
  cut(): void
  mend(): void
  /** Connections go to the server of this URL from now on; those that are open are ended. */
  redirect(url: string): void
  /** Ends every connection that is open now. */
  breakConnections(): void
  /**
   * The next message of a client that holds the text loses its connection: before it gets to the server, or after that, in
   * place of the answer. Resolves when it did.
   */
  loseNext(text: string, when: 'before' | 'after'): Promise<void>
  close(): Promise<void>
}

interface Trap {
  readonly text: string
  readonly when: 'before' | 'after'
  readonly sprung: () => void
}

export async function createNetwork(url: string): Promise<Network> {
  let target = new URL(url)
  const open = new Set<Socket>()
  let isCut = false
  let trap: Trap | undefined

  const server = createServer(client => {
    const upstream = connect(Number(target.port), target.hostname)
    let isMute = false
    for (const socket of [client, upstream]) {
      open.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        open.delete(socket)
        if (isCut) return
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', bytes => {
      if (isCut) return
      const caught = trap !== undefined && bytes.includes(trap.text) ? trap : undefined
      if (caught === undefined) return upstream.write(bytes)
      trap = undefined
      if (caught.when === 'after') {
        isMute = true
        upstream.once('data', () => end(caught))
        return upstream.write(bytes)
      }
      return end(caught)
    })
    upstream.on('data', bytes => {
      if (!isCut && !isMute) client.write(bytes)
    })

    function end({ sprung }: Trap): void {
      client.destroy()
      upstream.destroy()
      sprung()
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')

  const breakConnections = () => {
    for (const socket of open) socket.destroy()
  }
  const through = new URL(url)
  through.port = String((server.address() as AddressInfo).port)
  return {
    url: through.href,
    cut() {
      isCut = true
    },
    mend() {
      isCut = false
      breakConnections() // what was lost on the way is not sent again
    },
    redirect(to) {
      target = new URL(to)
      breakConnections()
    },
    breakConnections,
    loseNext: (text, when) =>
      new Promise(sprung => {
        trap = { text, when, sprung }
      }),
    async close() {
      breakConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
