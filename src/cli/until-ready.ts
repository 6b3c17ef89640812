/**
 * `serve --until-ready`: a start that ends as soon as all is well. It is for what happens once, before others serve: the tables of an
 * update are made by the owner of the database, and a build or a deployment sees that the settings work.
 */
import { setTimeout } from 'node:timers/promises'
import { Refusal } from '../errors.ts'
import type { Central } from '../service/central.ts'

const READY_MS_MAX = 60_000
const ASK_MS = 100

/** @throws {Refusal} NOT_READY, with what fails: within the time, or when something asked to stop */
export async function becomeReady(central: Pick<Central, 'ready'>, stopping: AbortSignal): Promise<void> {
  const deadline = performance.now() + READY_MS_MAX
  for (;;) {
    const { ready, checks } = await central.ready()
    if (ready) return
    if (stopping.aborted || performance.now() > deadline) {
      const failing = checks.filter(({ ok }) => !ok).map(({ name, detail }) => `${name} (${detail})`)
      throw new Refusal('NOT_READY', `Not ready: ${failing.join(', ')}.`)
    }
    await setTimeout(ASK_MS, undefined, { signal: stopping }).catch(() => {}) // asked once more, to say what was missing
  }
}
