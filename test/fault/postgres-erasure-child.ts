/** Erases somebody from a trail in PostgreSQL, in a process of its own, to be killed. */
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { createSharedErasures } from '../../src/service/shared-erasure.ts'
import { REQUEST } from '../contract/erasure.ts'

const [url = ''] = process.argv.slice(2)
await using erasures = createSharedErasures({
  url,
  archives: join(tmpdir(), 'no-archives'),
  logger: pino({ level: 'silent' }),
})
console.log('erasing')
const { erased } = await erasures.erase(REQUEST)
console.log(`erased ${erased}`)
