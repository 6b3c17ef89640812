/**
 * Verifies a log in a process of its own, whose memory nothing else has used: `node bench/verify-client.ts PATH KEY WORKERS ROUNDS`.
 * Prints a JSON object: milliseconds of each round, and the most memory that was resident.
 */
import { verifyPath } from '../src/verify/index.ts'

const [path = '', key = '', workers, rounds] = process.argv.slice(2)
const ms: number[] = []
let residentBytes = 0
// The highest that the system knows counts what the parent had before this program began.
const onProgress = () => {
  residentBytes = Math.max(residentBytes, process.memoryUsage.rss())
}
for (let round = 0; round < Number(rounds); round++) {
  const started = performance.now()
  const report = await verifyPath(path, { key }, { workers: Number(workers), onProgress })
  ms.push(performance.now() - started)
  if (report.verdict !== 'PRISTINE') throw new Error(report.sentence)
}
console.log(JSON.stringify({ ms, residentBytes }))
