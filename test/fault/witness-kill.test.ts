/**
 * A witness, killed at random instants while a log that lies asks for cosignatures: of each size it signs two trees, and sends
 * both at once, again and again. One of each size is cosigned, ever, and each start goes on where the one before was.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseCheckpoint } from '../../src/evidence/checkpoint.ts'
import { sha256 } from '../../src/evidence/crypto.ts'
import { areSameBytes } from '../../src/evidence/encoding.ts'
import { parseNote } from '../../src/evidence/note.ts'
import { temporaryFolder } from '../cli/command-line.ts'
import { createWitnessedLog, type WitnessedLog } from '../harness/witnessed-log.ts'
import { createRandom } from '../unit/query/event-fixture.ts'

const KILLS = 10
const LIFE_MS_MAX = 150

test('witness: killed at random instants, it never cosigns two trees of one size, nor goes back', async t => {
  const folder = join(temporaryFolder(t), 'witness')
  const random = createRandom(4711)
  let log = createWitnessedLog()
  const address = `/${Buffer.from(sha256(Buffer.from(log.key.key.name))).toString('hex')}/checkpoint`
  /** By size, the trees that somebody holds a cosignature of. */
  const cosigned = new Map<number, WitnessedLog>()
  let unanswered = 0
  let keptUnseen = 0

  /** Sends both trees at once, and takes over what is cosigned. */
  async function askForTwo(url: string, from: number, trees: readonly WitnessedLog[]): Promise<boolean> {
    const answers = await Promise.all(trees.map(tree => ask(url, '/add-checkpoint', tree.request(from))))
    for (const [n, answer] of answers.entries()) {
      const tree = trees[n] as WitnessedLog
      if (answer === undefined) unanswered++
      else assert.ok([200, 409].includes(answer.status), answer.body)
      if (answer?.status !== 200) continue
      const before = cosigned.get(tree.size) ?? tree
      assert.ok(areSameBytes(before.root(tree.size), tree.root(tree.size)), `two trees of ${tree.size} were cosigned`)
      cosigned.set(tree.size, tree)
    }
    log = cosigned.get(log.size + 1) ?? log
    return answers.every(answer => answer !== undefined)
  }

  for (let kill = 0; kill < KILLS; kill++) {
    const { url, child, exit } = await startWitness(folder, log.verifierKey)
    t.after(() => child.kill('SIGKILL'))
    const known = await ask(url, address)
    const size = known?.status === 200 ? parseCheckpoint(parseNote(known.body)?.text ?? '')?.size : 0
    assert.ok(size === log.size || size === log.size + 1, `${log.size} were cosigned, and it is at ${size}`)
    if (size > log.size) {
      keptUnseen++
      await askForTwo(url, size, twoTreesAfter(log, random))
      assert.equal(log.size, size, 'what was kept is cosigned when it is asked for again')
    }
    const killed = sleep(random() * LIFE_MS_MAX).then(() => child.kill('SIGKILL'))
    while (await askForTwo(url, log.size, twoTreesAfter(log, random)));
    await Promise.all([killed, exit])
  }
  t.diagnostic(`${log.size} trees cosigned, ${unanswered} requests unanswered, ${keptUnseen} trees kept unseen`)
  assert.ok(unanswered >= KILLS && log.size >= KILLS / 2)
})

function twoTreesAfter(log: WitnessedLog, random: () => number): WitnessedLog[] {
  const trees = ['leaf', 'another'].map(name => {
    const tree = log.fork(log.size)
    tree.append(`${name} ${log.size}`)
    return tree
  })
  return random() < 0.5 ? trees : trees.reverse()
}

async function startWitness(folder: string, log: string) {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'witness-child.ts'), folder, log], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  const [line] = await Promise.race([once(child.stdout, 'data'), exit.then(() => assert.fail('it did not start'))])
  return { url: String(line).trim(), child, exit }
}

/** Undefined when it died before it answered. */
async function ask(url: string, path: string, body?: string): Promise<{ status: number; body: string } | undefined> {
  try {
    const response = await fetch(`${url}${path}`, body === undefined ? {} : { method: 'POST', body })
    return { status: response.status, body: await response.text() }
  } catch {
    return undefined
  }
}
