/** The times that a question names, as moments. Each throws {Refusal} VALIDATION_FAILED where a text is no time, or names too many. */
import { Refusal } from '../errors.ts'
import { LIMITS } from '../limits.ts'
import type { TimeRange } from './chunk-reader.ts'
import type { StepsRequest, SummaryRequest } from './event-queries.ts'

/** Epoch milliseconds. */
export function parseTime(text: string, field: string): number {
  const at = Date.parse(text)
  if (!Number.isNaN(at)) return at
  throw new Refusal('VALIDATION_FAILED', `${field} is not a time`, { violations: [{ field, rule: 'time' }] })
}

/** As the rows have it: text that compares in the order of time. */
export const spellTime = (text: string, field: string) => new Date(parseTime(text, field)).toISOString()

/** Undefined when the filter says nothing about time. */
export function timeRange(filter: {
  start_time?: string | undefined
  end_time?: string | undefined
}): TimeRange | undefined {
  const { start_time, end_time } = filter
  if (start_time === undefined && end_time === undefined) return undefined
  return {
    startMs: start_time === undefined ? Number.NEGATIVE_INFINITY : parseTime(start_time, 'start_time'),
    endMs: end_time === undefined ? Number.POSITIVE_INFINITY : parseTime(end_time, 'end_time'),
  }
}

export function bucketsOf({ bucketSeconds, ...range }: SummaryRequest): TimeRange & { readonly bucketMs: number } {
  const { startMs, endMs } = wholeRange(range)
  const bucketMs = bucketSeconds * 1000
  if (!(bucketMs > 0) || (endMs - startMs) / bucketMs > LIMITS.summaryBucketsMax) {
    throw new Refusal('VALIDATION_FAILED', 'too many buckets', { violations: [{ field: 'bucket', rule: 'too_small' }] })
  }
  return { startMs, endMs, bucketMs }
}

/** Steps begin where the range does, not at whole minutes, so that the last one is not cut short. */
export function stepsOf({ stepSeconds, ...range }: StepsRequest): TimeRange & { stepMs: number; length: number } {
  const { startMs, endMs } = wholeRange(range)
  const stepMs = stepSeconds * 1000
  const length = Math.max(0, Math.ceil((endMs - startMs) / stepMs))
  if (!(stepMs > 0 && length <= LIMITS.summaryBucketsMax)) throw new Refusal('VALIDATION_FAILED', 'too many steps')
  return { startMs, endMs, stepMs, length }
}

function wholeRange({ start_time, end_time }: { start_time: string; end_time: string }): TimeRange {
  return { startMs: parseTime(start_time, 'start_time'), endMs: parseTime(end_time, 'end_time') }
}
