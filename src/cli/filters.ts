/** The filters of `/audit/events` as options, with the same limits as over HTTP. */
import { type Command, InvalidArgumentError } from 'commander'
import { escapeUnprintable } from '../audit/redaction.ts'
import { canonicalAddress } from '../context/client-address.ts'
import { ACTIONS, type Action, SEVERITIES, type Severity } from '../event/catalogue.ts'
import { LIMITS } from '../limits.ts'
import type { EventFilter } from '../query/event-queries.ts'
import { UsageError } from './outcome.ts'
import { parseTime } from './times.ts'

export interface FilterOptions {
  readonly who?: string
  readonly ip?: string
  readonly requestId?: string
  readonly action?: Action[]
  readonly severity?: Severity[]
  readonly reasonCode?: string[]
  readonly startTime?: string
  readonly endTime?: string
}

export function addFilterOptions(command: Command): Command {
  return command
    .option('--who <name>', 'charge point, admin, `system` or `unknown`', parseWho)
    .option('--action <list>', `any of ${ACTIONS.join(', ')}`, oneOrMoreOf(ACTIONS))
    .option('--ip <address>', 'client address', parseAddress)
    .option('--severity <list>', `any of ${SEVERITIES.join(', ')}`, oneOrMoreOf(SEVERITIES))
    .option('--reason-code <list>', 'any of these reason codes', parseReasonCodes)
    .option('--request-id <id>', 'events of one request', parseRequestId)
    .option('--start-time <time>', 'from this time on: ISO-8601, or relative such as -1h, -15m, -7d', parseTime)
    .option('--end-time <time>', 'before this time', parseTime)
}

/** @throws {UsageError} when the options cannot all hold. */
export function filterOf(options: FilterOptions): EventFilter {
  const { startTime, endTime } = options
  checkRange(startTime, endTime)
  return {
    ...(options.who === undefined ? {} : { who: options.who }),
    ...(options.ip === undefined ? {} : { ip: options.ip }),
    ...(options.requestId === undefined ? {} : { request_id: options.requestId }),
    ...(options.action === undefined ? {} : { action: options.action }),
    ...(options.severity === undefined ? {} : { severity: options.severity }),
    ...(options.reasonCode === undefined ? {} : { reason_code: options.reasonCode }),
    ...(startTime === undefined ? {} : { start_time: startTime }),
    ...(endTime === undefined ? {} : { end_time: endTime }),
  }
}

/** @throws {UsageError} */
export function checkRange(startTime: string | undefined, endTime: string | undefined): void {
  if (startTime !== undefined && endTime !== undefined && startTime > endTime) {
    throw new UsageError('--end-time must not lie before --start-time')
  }
}

/** A parser for options that take a whole number. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return text => {
    const number = Number(text)
    if (!/^\d{1,15}$/.test(text) || number < min || number > max) {
      throw new InvalidArgumentError(`It is a whole number from ${min} to ${max}.`)
    }
    return number
  }
}

/** A parser for free text of bounded length without control or bidirectional characters. */
export function freeText(charactersMax: number): (text: string) => string {
  return text => {
    if (text === '' || text.length > charactersMax || !text.isWellFormed() || escapeUnprintable(text) !== text) {
      throw new InvalidArgumentError(`It is 1 to ${charactersMax} printable characters.`)
    }
    return text
  }
}

const parseWho = freeText(LIMITS.whoCharactersMax)
const parseRequestId = freeText(128)
const parseText = freeText(64)

/** The spelling that addresses have in the trail; what is no address is looked for as it is. */
export function parseAddress(text: string): string {
  return canonicalAddress(text) ?? parseText(text)
}

function parseReasonCodes(text: string): string[] {
  const codes = listOf(text)
  if (codes.some(code => !/^[A-Za-z0-9_]{1,64}$/.test(code))) {
    throw new InvalidArgumentError('A reason code is up to 64 letters, digits and underscores.')
  }
  return codes
}

function oneOrMoreOf<const T extends string>(known: readonly T[]): (text: string) => T[] {
  return text =>
    listOf(text).map(name => {
      const found = known.find(value => value === name.toUpperCase())
      if (found === undefined) throw new InvalidArgumentError(`The values are ${known.join(', ')}.`)
      return found
    })
}

function listOf(text: string): string[] {
  const values = text.split(',').map(value => value.trim())
  if (values.length > LIMITS.filterValuesMax || values.includes('')) {
    throw new InvalidArgumentError(`It is a comma list of 1 to ${LIMITS.filterValuesMax} values.`)
  }
  return values
}
