/** What has to come of a change to a trail, wherever that lies, and whether the verifier found it. */
import assert from 'node:assert/strict'
import type { VerdictCode } from '../../src/verify/verdict.ts'
import type { Report } from '../../src/verify/verify.ts'

export interface Outcome {
  readonly verdicts: readonly VerdictCode[]
  /** The first event, or from which to which. */
  readonly id?: number | readonly [number, number]
  /** Or the size of the checkpoint. */
  readonly size?: number
  /** A checkpoint from before, for `--trusted`. */
  readonly trusted?: string
}

export function assertFound({ verdict, findings, sentence }: Report, { verdicts, id, size }: Outcome): void {
  assert.ok(verdicts.includes(verdict), `${verdict} instead of ${verdicts.join(' or ')}: ${sentence}`)
  const at = findings[0]?.at ?? { part: 'nothing' }
  if (size !== undefined) assert.ok('size' in at && at.size === size, `not the checkpoint of size ${size}: ${sentence}`)
  if (id === undefined) return
  const [from, to] = typeof id === 'number' ? [id, id] : id
  assert.ok('id' in at && at.id >= from && at.id <= to, `not event ${from}${to > from ? ` to ${to}` : ''}: ${sentence}`)
}

/** Columns of text that hold no time. */
export const TEXTS = [
  'who',
  'ip',
  'action',
  'description',
  'severity',
  'reason_code',
  'request_id',
  'endpoint',
  'http_method',
  'metadata_json',
] as const
