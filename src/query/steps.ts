/**
 * Counts of the equal steps of a time range, from the columns of its chunks (store/chunk.ts): for alert rules, which look
 * for the busiest minutes.
 */
import { Refusal } from '../errors.ts'
import type { EventDatabase } from './event-database.ts'
import type { Step, StepsRequest } from './event-queries.ts'
import type { Deadline } from './id-streams.ts'
import { columnsOf } from './summary.ts'
import { stepsOf } from './times.ts'
import { createVocabulary } from './vocabulary.ts'

/** @throws {Refusal} QUERY_TIMEOUT: part of a sum would be a wrong sum. */
export function countSteps(database: EventDatabase, request: StepsRequest, deadline: Deadline): Step[] {
  const { startMs, endMs, stepMs, length } = stepsOf(request)
  const vocabulary = createVocabulary(database)
  const steps = new Map<number, Uint32Array>()
  for (const chunk of database.chunksOfTime({ startMs, endMs }, 1, 0)) {
    if (deadline.passed()) throw new Refusal('QUERY_TIMEOUT')
    const { count, kinds, times, baseMs } = columnsOf(database, vocabulary, chunk)
    for (let n = 0; n < count; n++) {
      const ms = baseMs + (times[n] as number)
      if (ms < startMs || ms >= endMs) continue
      const step = Math.floor((ms - startMs) / stepMs)
      let counts = steps.get(step)
      if (counts === undefined) {
        counts = new Uint32Array(vocabulary.kindsMax)
        steps.set(step, counts)
      }
      const kind = kinds[n] as number
      counts[kind] = (counts[kind] as number) + 1
    }
  }
  const empty = new Uint32Array(vocabulary.kindsMax)
  return Array.from({ length }, (_, step) => {
    const counts = steps.get(step) ?? empty
    return {
      by_action: vocabulary.sumKinds(counts, kind => kind.action),
      by_reason: vocabulary.sumKinds(counts, kind => kind.reason),
    }
  })
}
