/**
 * The signer of a data folder, for the host: checkpoints are signed by a thread (signer.ts), as that reads what was logged; keys are handed
 * over here (key-files.ts).
 *
 * Owns the thread, which starts with the first question, and anew when it ended. It answers in the order in which it was asked.
 */
import type { Worker } from 'node:worker_threads'
import { currentKeys } from '../evidence/key-chain.ts'
import { endThread, startThread } from '../threads/thread.ts'
import type { LogSigner } from './checkpoint-host.ts'
import {
  askForRotation,
  beginKeyChain,
  completeHandOver,
  hasHandOver,
  type KeyFolders,
  keyChainReader,
  takeHandOver,
} from './key-files.ts'
import type { SignerAnswer, SignerMessage, SignerThreadData } from './signer-protocol.ts'

export interface ThreadSignerOptions {
  readonly storePath: string
  readonly folders: KeyFolders
  /** Left out: as it was, or made up at the first start. */
  readonly origin: string | undefined
  /** Whether an ML-DSA-44 key signs, too. Where it is otherwise so far, the keys are handed over to others. */
  readonly withMlDsa44: boolean
  /** Resolves when the hand-over is on record. */
  readonly onHandOver: (note: string) => Promise<void>
}

const THREAD = new URL('./signer-thread', import.meta.url)

export function createThreadSigner(options: ThreadSignerOptions): LogSigner {
  const { storePath, folders, origin, withMlDsa44, onHandOver } = options
  const readChain = keyChainReader(folders)
  let hasKeys = false
  let worker: Worker | undefined
  /** In the order in which they asked, which is that of the answers; undefined: the thread ended. */
  const waiting: ((answer: SignerAnswer | undefined) => void)[] = []

  function startWorker(): Worker {
    const workerData: SignerThreadData = { storePath, folders }
    const started = startThread(THREAD, { workerData, name: 'evc-signer' })
    started.on('message', (answer: SignerAnswer) => waiting.shift()?.(answer))
    started.on('exit', () => {
      worker = undefined
      for (const settle of waiting.splice(0)) settle(undefined)
    })
    return started
  }

  function ask(message: SignerMessage): void {
    worker ??= startWorker()
    worker.postMessage(message)
  }

  function answerTo(message: SignerMessage): Promise<SignerAnswer | undefined> {
    return new Promise(resolve => {
      waiting.push(resolve)
      ask(message)
    })
  }

  /** Because somebody asked for it, or the setting is another one. See key-files.ts for what a crash leaves. */
  async function handOver(size: number): Promise<void> {
    const chain = readChain()
    if (chain === undefined) return
    let note = takeHandOver(folders, chain, size)
    if (note === undefined && (currentKeys(chain).mlDsa44 !== undefined) !== withMlDsa44) {
      askForRotation(folders, chain, withMlDsa44)
      note = takeHandOver(folders, chain, size)
    }
    if (note === undefined) return
    await onHandOver(note)
    completeHandOver(folders, chain, note)
  }

  return {
    async prepare() {
      if (!hasKeys) beginKeyChain(folders, origin, withMlDsa44)
      hasKeys = true
      if (hasHandOver(folders)) await handOver(0) // before the old keys sign beyond the size that it names itself
    },
    async watch(watchMs) {
      const answer = await answerTo({ watchMs })
      return answer !== undefined && 'watched' in answer ? answer.watched : undefined
    },
    async sign() {
      const answer = await answerTo('sign')
      return answer !== undefined && 'outcome' in answer
        ? answer.outcome
        : { kind: 'unavailable', detail: "the signer's thread ended" }
    },
    handOver,
    witnessed: () => undefined, // whoever signs here asks the witnesses
    async cosign(note, isWitnessed) {
      ask({ cosign: note, isWitnessed })
    },
    async signManifest(manifest) {
      const answer = await answerTo({ manifest })
      return answer !== undefined && 'note' in answer ? answer.note : undefined
    },
    keyChain: readChain,
    async close() {
      if (worker !== undefined) await endThread(worker, 'close' satisfies SignerMessage)
    },
  }
}
