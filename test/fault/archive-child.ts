/** Archives everything that is sealed, of a data folder or of a PostgreSQL, in a process of its own, to be killed. */
import { archiveSegments } from '../../src/archive/archive.ts'
import { pathsOf } from '../harness/old-trail.ts'

const [trail = '', directory = ''] = process.argv.slice(2)
const place = trail.startsWith('postgres://')
  ? { store: { kind: 'postgres', url: trail } as const, directory }
  : pathsOf(trail)
console.log('archiving')
const { archived } = await archiveSegments({ ...place, beforeMs: Date.UTC(2036, 0, 1), actor: 'test' })
console.log(`archived ${archived.length}`)
