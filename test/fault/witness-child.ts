/** A witness in a process of its own, to be killed: `node witness-child.ts <folder> <verifier key>`. Prints where it listens. */
import { pino } from 'pino'
import { parseVerifierKey } from '../../src/evidence/note.ts'
import { serveWitness } from '../../src/witness/server.ts'
import { openWitness } from '../../src/witness/witness.ts'

const [folder = '', log = ''] = process.argv.slice(2)
const witness = openWitness({ folder, logs: [parseVerifierKey(log)!], logger: pino({ enabled: false }) })
const { url } = await serveWitness(witness, '127.0.0.1', 0)
console.log(url)
