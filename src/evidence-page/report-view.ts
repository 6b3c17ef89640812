/** The verdict, and all that it rests on. */
import { counted } from '../counted.ts'
import { formatVerifierKey } from '../evidence/note.ts'
import { PACK_FAULTS, type PackProblem, type PackReport } from '../evidence/verify-pack.ts'
import { byId, element } from './elements.ts'
import { addresses, answersOf, chargePoints, formatTime, type Tally } from './story.ts'

const PROBLEMS_SHOWN = 100
const NAMES_SHOWN = 20

export function showReport(report: PackReport, problems: readonly PackProblem[]): void {
  showVerdict(report, problems)
  showProblems(problems)
  showKey(report)
  showChecked(report)
  // What is not proven answers no question; the timeline shows it, and says so.
  const rows = report.events.filter(({ isProven }) => isProven).map(({ row }) => row)
  byId('questions').replaceChildren(
    ...answersOf(rows).flatMap(({ question, answer }) => [element('dt', question), element('dd', answer.join('\n'))]),
  )
  byId('charge-points').replaceChildren(...tallyRows(chargePoints(rows)))
  byId('addresses').replaceChildren(...tallyRows(addresses(rows)))
}

const SELECTION_WORDS: Readonly<Record<PackReport['selection'], string>> = {
  signed: 'Which events were asked for and found is signed by the log, too.',
  unsigned:
    'The selection is not signed: this pack was made without the private key of the log, or somebody took the note of the log away. Whoever had the pack could leave events out, and say that others were asked for. Ask for a pack that has the note.',
  wrong: 'The selection is not what the log signed.',
}

export function setVerdict(colour: 'green' | 'amber' | 'red' | '', title: string, text: string): void {
  byId('verdict').className = `verdict ${colour}`
  byId('verdict-title').replaceChildren(element('span', title))
  byId('verdict-text').replaceChildren(element('span', text))
}

function showVerdict({ events, checkpoint, selection, key }: PackReport, problems: readonly PackProblem[]): void {
  const proven = events.filter(({ isProven }) => isProven).length
  const count = `${proven} of ${events.length} events are as they were logged and signed.`
  if (problems.length > 0 || checkpoint === undefined) {
    setVerdict('red', `Do not rely on this pack: ${counted(problems.length, 'problem')} found`, count)
    return
  }
  const compared =
    key === 'given' ? 'The key is the one you were given.' : 'The key was not compared yet: do that below.'
  const text = `${count} ${SELECTION_WORDS[selection]} ${compared}`
  if (selection === 'signed') setVerdict('green', 'Intact: every event is in the signed log, as it is shown here', text)
  else setVerdict('amber', 'The events are genuine; that they are all that there should be, nobody has signed', text)
}

function showProblems(problems: readonly PackProblem[]): void {
  byId('problems-section').hidden = problems.length === 0
  const lines = problems.slice(0, PROBLEMS_SHOWN).map(problem => element('li', describe(problem)))
  const more = problems.length - PROBLEMS_SHOWN
  byId('problems').replaceChildren(...lines, ...(more > 0 ? [element('li', `and ${more} more`)] : []))
}

export function describe({ part, fault, id }: PackProblem): string {
  return `${id === undefined ? part : `Event ${id} (${part})`} ${PACK_FAULTS[fault]}.`
}

function showKey({ chain, signer, key }: PackReport): void {
  byId('key').textContent = signer === undefined ? 'none that can be read' : formatVerifierKey(signer)
  const isFirst = chain === undefined || signer === chain.first
  const earlier = isFirst
    ? ''
    : `The log began with this key, which handed over to it: ${formatVerifierKey(chain.first)}`
  byId('earlier').textContent = earlier
  const words = {
    'not-compared': ['warn', 'not compared yet'],
    given: ['ok', 'It is the key you were given.'],
    other: ['bad', 'It is NOT the key you were given: this pack was made by somebody else.'],
  } as const
  const [className, text] = words[key]
  byId('key-verdict').replaceChildren(element('span', text, className))
}

function showChecked(report: PackReport): void {
  const { manifest, checkpoint, algorithms, chain, cosigners, cosignatures, events } = report
  byId('about').replaceChildren(
    element('span', manifest === undefined ? 'The manifest cannot be read.' : aboutText(report)),
  )
  const lines = [
    `${counted(events.length, 'event')}: commitment, leaf and inclusion proof of each, against one signed checkpoint.`,
    checkpoint === undefined
      ? 'No checkpoint that is signed as it should be.'
      : `Checkpoint of the log ${checkpoint.origin} with ${counted(checkpoint.size, 'event')}, signed with ${algorithms.join(' and ')}.`,
    chain === undefined
      ? 'No chain of keys.'
      : `Chain of ${counted(chain.handOvers.length + 1, 'key')}, each signed for by the one before.`,
    `Witnesses that signed, too: ${cosigners.length === 0 ? 'none' : [...new Set(cosigners)].join(', ')}; verified with keys you gave: ${cosignatures.length}.`,
    'Digests of all files, and whether the events are within what was asked for.',
    SELECTION_WORDS[report.selection],
    ...missingArchives(report),
    completeness(report),
  ]
  byId('checked').replaceChildren(...lines.map(line => element('li', line)))
}

function aboutText({ manifest }: PackReport): string {
  if (manifest === undefined) return ''
  const { origin, start_time, end_time, cp_id, incident, events, erased, made_at } = manifest
  const of = [
    ...(cp_id === null ? [] : [`charge point ${cp_id}`]),
    ...(incident === null ? [] : [`incident ${incident}`]),
  ]
  const gone = erased === 0 ? '' : `, ${erased} of them erased`
  return `Log ${origin}. ${counted(events, 'event')}${gone} from ${formatTime(start_time)} to ${formatTime(end_time)}${of.length === 0 ? '' : `, of ${of.join(' and ')}`}. Made ${formatTime(made_at)}.`
}

function missingArchives({ manifest }: PackReport): string[] {
  const missing = manifest?.archives_missing ?? []
  if (missing.length === 0) return []
  return [
    `Events that were asked for may be in archives that were not at hand: ${missing.join(', ')}. They are not here.`,
  ]
}

function completeness({ events, selection }: PackReport): string {
  const [first, last] = [events[0]?.row.id, events.at(-1)?.row.id]
  if (first === undefined || last === undefined) return 'No event is in the pack.'
  const left = last - first + 1 - events.length
  if (left === 0) return `Events ${first} to ${last} without a gap: none of the log is missing between them.`
  const others = `${counted(left, 'event')} of the log between ${first} and ${last}`
  const absent = left === 1 ? 'is not in this pack, as it was' : 'are not in this pack, as they were'
  return `${others} ${absent} not asked for. ${selection === 'signed' ? 'The log says so; that' : 'That'} none was left out that should be here, only the whole log can show.`
}

function tallyRows(tallies: readonly Tally[]): HTMLElement[] {
  const head = ['Name', 'Events', 'Refused', 'Logged in'].map((title, n) => {
    const cell = element('th', title, n === 0 ? '' : 'number')
    cell.setAttribute('scope', 'col')
    return cell
  })
  const rows = tallies.slice(0, NAMES_SHOWN).map(({ name, events, failures, logins }) => {
    const numbers = [events, failures, logins].map(count => element('td', String(count), 'number'))
    return element('tr', [element('td', name, 'text'), ...numbers])
  })
  const more = tallies.length - NAMES_SHOWN
  const rest = more > 0 ? [element('tr', [element('td', `and ${more} more`, 'muted')])] : []
  return [element('tr', head), ...rows, ...rest]
}
