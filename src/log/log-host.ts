/**
 * A log builder whose work is done by a thread beside the one that writes rows: parsing, hashing and files cost as much as the
 * rows themselves, and all that comes back is a few bytes a row.
 *
 * Owns the thread. `finish` blocks the caller's thread until the answer is there, as it stands inside a transaction; so this is
 * for a thread that has nothing else to do. A thread that dies or does not answer fails the batch, and is started anew by the
 * next `resume`.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, type Worker } from 'node:worker_threads'
import { formatEntry } from '../event/codec.ts'
import { startThread } from '../threads/thread.ts'
import type { LogBuilder, LogRow } from './log-builder.ts'
import {
  ANSWERED,
  type LogAnswer,
  type LogFailed,
  type LogGrown,
  type LogMessage,
  type LogSynced,
  type LogThreadData,
  TAKEN,
} from './log-protocol.ts'

const THREAD = new URL('./log-thread', import.meta.url)
const RECORDS_PER_MESSAGE = 500
/** The first of a batch go a few at a time: hashed while the caller writes others' rows, so that a small batch waits for the last only. */
const FIRST_RECORDS = 128
const FIRST_RECORDS_PER_MESSAGE = 8
/** The thread may be so far behind before the caller waits for it: 12 MB of records. With 10 the rows took a tenth longer. */
const MESSAGES_AHEAD_MAX = 24
const ANSWER_MS_MAX = 60_000

interface Thread {
  readonly worker: Worker
  readonly port: MessagePort
  readonly turns: Int32Array
  /** Messages of records. */
  sent: number
}

/** @param root of the log's files; left out, full tiles come back with each growth. */
export function startLogBuilder(root?: string): LogBuilder {
  /** Begun before it is needed, else the first rows after a start would wait for it. */
  let thread: Thread | undefined = start()
  let size: number | undefined
  let first: Pick<LogRow, 'id' | 'createdAt'> | undefined
  let records: string[] = []
  let rows = 0

  function start(): Thread {
    const { port1, port2 } = new MessageChannel()
    const turns = new SharedArrayBuffer(8)
    const worker = startThread(THREAD, {
      workerData: { root, turns, port: port2 } satisfies LogThreadData,
      transferList: [port2],
      name: 'evc-log',
    })
    const started = { worker, port: port1, turns: new Int32Array(turns), sent: 0 }
    worker.on('exit', () => {
      port1.close()
      if (thread === started) forget()
    })
    worker.unref()
    port1.unref()
    return started
  }

  function forget(): void {
    thread = undefined
    size = undefined
  }

  function send(message: LogMessage): void {
    thread?.port.postMessage(message)
  }

  function sendRecords(isLast = false): void {
    if (first !== undefined && thread !== undefined) {
      waitForRoom(thread)
      thread.sent = (thread.sent + 1) | 0
      send({ firstId: first.id, createdAt: first.createdAt, records, isLast })
    } else if (isLast) send('finish')
    first = undefined
    records = []
  }

  /** Both counts are of 32 bits. A thread that does not get on is found out by `finish`. */
  function waitForRoom({ turns, sent }: Thread): void {
    let taken = Atomics.load(turns, TAKEN)
    while (((sent - taken) | 0) >= MESSAGES_AHEAD_MAX) {
      if (Atomics.wait(turns, TAKEN, taken, ANSWER_MS_MAX) === 'timed-out') return
      taken = Atomics.load(turns, TAKEN)
    }
  }

  /** The answer to what `ask` sends. */
  function receive<A extends LogAnswer>({ port, turns, worker }: Thread, ask: () => void): A | LogFailed {
    const before = Atomics.load(turns, ANSWERED)
    ask()
    Atomics.wait(turns, ANSWERED, before, ANSWER_MS_MAX)
    const answer = receiveMessageOnPort(port)
    if (answer !== undefined) return answer.message
    void worker.terminate()
    return { failed: { message: 'the log builder does not answer' } }
  }

  return {
    get size() {
      return size
    },
    resume(state) {
      thread ??= start()
      first = undefined
      records = []
      rows = 0
      send({ resume: state })
      size = state.edge.size
    },
    add({ id, event, createdAt, record }) {
      const recordsMax = rows < FIRST_RECORDS ? FIRST_RECORDS_PER_MESSAGE : RECORDS_PER_MESSAGE
      if (first !== undefined && (first.createdAt !== createdAt || records.length >= recordsMax)) sendRecords()
      first ??= { id, createdAt }
      records.push(record ?? formatEntry(event))
      rows++
    },
    finish() {
      if (thread === undefined || size === undefined) throw new Error('the log builder was not resumed')
      const answer = receive<LogGrown>(thread, () => sendRecords(true))
      if ('growth' in answer) {
        size += rows
        rows = 0
        return answer.growth
      }
      void thread.worker.terminate()
      forget()
      throw Object.assign(new Error(answer.failed.message), answer.failed)
    },
    /** The thread may be far behind: what it was sent is waited for, and its answer is nobody's. */
    abandon() {
      if (thread === undefined || rows === 0) return
      first = undefined
      rows = 0
      size = undefined
      if ('growth' in receive<LogGrown>(thread, () => sendRecords(true))) return
      void thread.worker.terminate()
      forget()
    },
    sync() {
      if (thread === undefined) return 0
      const answer = receive<LogSynced>(thread, () => send('sync'))
      return 'syncedSize' in answer ? answer.syncedSize : 0
    },
    close() {
      send('close')
      forget()
    },
  }
}
