/** Archives everything that is sealed, in a process of its own, to be killed. */
import { archiveSegments } from '../../src/archive/archive.ts'
import { pathsOf } from '../harness/old-trail.ts'

const dataDir = process.argv[2] ?? ''
console.log('archiving')
const { archived } = await archiveSegments({ ...pathsOf(dataDir), beforeMs: Date.UTC(2036, 0, 1), actor: 'test' })
console.log(`archived ${archived.length}`)
