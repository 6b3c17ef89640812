/** Entry of a signer's thread (thread-signer.ts). */
import { parentPort, workerData } from 'node:worker_threads'
import { letOthersFirst } from '../threads/priority.ts'
import { signManifest } from './pack-note.ts'
import { createSigner } from './signer.ts'
import type { SignerAnswer, SignerMessage, SignerThreadData } from './signer-protocol.ts'

const port = parentPort
if (port === null) throw new Error('this file is the entry of a worker thread')
letOthersFirst() // it reads the trail again, a piece each second, and a checkpoint may come a moment later
const data = workerData as SignerThreadData
const signer = createSigner(data)

port.on('message', (message: SignerMessage) => {
  if (message === 'sign') answer({ outcome: signer.sign() })
  else if (message === 'close') {
    signer.close()
    port.close()
  } else if ('watchMs' in message) answer({ watched: signer.watch(message.watchMs) })
  else if ('manifest' in message) answer({ note: signManifest(data.folders, message.manifest) })
  else signer.cosign(message.cosign, message.isWitnessed)
})

function answer(what: SignerAnswer): void {
  port?.postMessage(what)
}
