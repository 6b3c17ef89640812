/**
 * The page of an evidence pack: checks what it holds, again whenever keys are given to compare, and shows what it found.
 *
 * Promise: asks nobody for anything (its policy lets it not); shows green only when every check passed and the log signed the selection.
 * Believes nothing in the pack. All checks are those of src/evidence, on its browser twin.
 */
import { parseVerifierKey, type VerifierKey } from '../evidence/note.ts'
import { PACK_PAGE } from '../evidence/pack.ts'
import { type PackProblem, verifyPack } from '../evidence/verify-pack.ts'
import { type PackContents, readChosen, readInline } from './contents.ts'
import { byId, element } from './elements.ts'
import { setVerdict, showReport } from './report-view.ts'
import { showTimeline } from './timeline-view.ts'

let contents: PackContents = readInline(textOf('pack'), textOf('pack-digest'))
let keys: readonly VerifierKey[] = []
/** Only the newest check may show what it found. */
let newest = 0

function textOf(id: string): string {
  return document.getElementById(id)?.textContent ?? ''
}

async function check(): Promise<void> {
  const own = ++newest
  try {
    const steps = verifyPack(contents.files, keys)
    let step = steps.next()
    for (; !step.done; step = steps.next()) {
      setVerdict('', 'Checking', `${step.value.done} of ${step.value.total} events checked`)
      await new Promise(resolve => setTimeout(resolve))
      if (own !== newest) return
    }
    const changed: PackProblem[] = contents.isChanged ? [{ part: PACK_PAGE, fault: 'changed' }] : []
    showReport(step.value, [...changed, ...step.value.problems])
    showTimeline(step.value.events)
  } catch (error) {
    setVerdict('red', 'Do not rely on this pack: it could not be checked', String(error))
  }
}

byId<HTMLFormElement>('key-form').addEventListener('submit', event => {
  event.preventDefault()
  const lines = byId<HTMLTextAreaElement>('given').value.split('\n')
  const given = lines.map(line => line.trim()).filter(line => line !== '')
  const parsed = given.map(parseVerifierKey)
  if (!parsed.every(key => key !== undefined)) {
    const text = 'That is no verifier key: it looks like name+12345678+... and was not copied whole.'
    byId('key-verdict').replaceChildren(element('span', text, 'bad'))
    return
  }
  keys = parsed
  void check()
})

byId<HTMLInputElement>('copy').addEventListener('change', async event => {
  const file = (event.target as HTMLInputElement).files?.[0]
  if (file === undefined) return
  contents = readChosen(new Uint8Array(await file.arrayBuffer()))
  await check()
})

void check()
