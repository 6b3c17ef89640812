/**
 * The alert rules, as a table: what is counted, and from how many on it deserves somebody's attention.
 *
 * docs/operations.md says what to do about each. A rule with `withinMinutes` looks at the busiest such stretch of the
 * time range, any other one at the whole of it.
 */
import type { Step } from '../query/event-queries.ts'

export interface AlertRule {
  readonly name: string
  readonly threshold: number
  readonly withinMinutes?: number
  readonly count: (counted: Step) => number
}

const action =
  (name: string): AlertRule['count'] =>
  counted =>
    counted.by_action[name] ?? 0
const reason =
  (name: string): AlertRule['count'] =>
  counted =>
    counted.by_reason[name] ?? 0

export const ALERT_RULES: readonly AlertRule[] = [
  { name: 'INCIDENT', threshold: 1, count: action('INCIDENT') },
  { name: 'AUTH_FAIL', threshold: 20, withinMinutes: 5, count: action('AUTH_FAIL') },
  { name: 'ERROR', threshold: 1, count: action('ERROR') },
  { name: 'VALIDATION_ERROR', threshold: 50, withinMinutes: 5, count: action('VALIDATION_ERROR') },
  { name: 'LOSS_DECLARED', threshold: 1, count: reason('LOSS_DECLARED') },
  { name: 'UNCLEAN_STOP', threshold: 1, count: reason('UNCLEAN_STOP') },
]

export function ruleText({ name, threshold, withinMinutes }: Omit<AlertRule, 'count'>): string {
  const events = threshold === 1 ? `any ${name}` : `${threshold} or more ${name}`
  return withinMinutes === undefined ? events : `${events} within ${withinMinutes} minutes`
}
