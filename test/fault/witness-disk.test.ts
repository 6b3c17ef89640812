/**
 * A witness on a disk that fails: each file operation of a first start, of cosigning and of a hand-over in turn, before and after it
 * took effect. Whatever happens, it cosigns one line of trees, and a start finds the last one of it.
 */
import assert from 'node:assert/strict'
import fs, { mkdtempSync, rmSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { pino } from 'pino'
import { areSameBytes } from '../../src/evidence/encoding.ts'
import type { Hash } from '../../src/evidence/merkle.ts'
import { parseVerifierKey } from '../../src/evidence/note.ts'
import { openWitness, type Witness } from '../../src/witness/witness.ts'
import { createWitnessedLog, type WitnessedLog } from '../harness/witnessed-log.ts'

type Moment = 'before' | 'after'

/** All by which a witness changes its folder. */
const OPERATIONS = ['mkdirSync', 'openSync', 'writeSync', 'fsyncSync', 'renameSync', 'closeSync'] as const

test('witness: each file operation fails, before and after it took effect; it never cosigns two trees of a size', t => {
  const names: string[] = []
  runWithFault(-1, 'before', names)
  t.diagnostic(`${names.length} operations: ${names.join(' ')}`)
  for (const operation of OPERATIONS) assert.ok(names.includes(operation), operation)
  const durably = 'openSync writeSync fsyncSync closeSync renameSync openSync fsyncSync closeSync'
  const renames = names.filter(name => name === 'renameSync').length
  assert.equal(names.join(' ').split(durably).length - 1, renames, 'draft, fsync, rename, fsync of the folder')
  let refused = 0
  for (let at = 0; at < names.length; at++) {
    for (const moment of ['before', 'after'] as const) {
      try {
        refused += runWithFault(at, moment, [])
      } catch (cause) {
        throw new Error(`${names[at]} (${at}) fails ${moment} it took effect`, { cause })
      }
    }
  }
  assert.ok(refused >= names.length, `${refused} faults were noticed`)
})

/** @returns how often something was refused because of the fault */
function runWithFault(at: number, moment: Moment, names: string[]): number {
  const folder = join(mkdtempSync(join(tmpdir(), 'evc-witness-fault-')), 'witness')
  let number = 0
  const fault = (name: string) => {
    names.push(name)
    return number++ === at ? moment : undefined
  }
  try {
    using disk = failingDisk(fault)
    const refused = run(folder)
    if (at >= 0) assert.ok(disk.hasFailed(), 'the fault came about')
    return refused
  } finally {
    rmSync(join(folder, '..'), { recursive: true, force: true })
  }
}

function run(folder: string): number {
  const log = createWitnessedLog()
  const seen = createRecord()
  let refused = 0
  let now = Date.UTC(2026, 0, 2)
  const open = (): Witness => {
    const options = { folder, name: 'w', logs: [parseVerifierKey(log.verifierKey)!], logger: pino({ enabled: false }) }
    try {
      return openWitness({ ...options, clock: () => now })
    } catch {
      refused++
      return openWitness({ ...options, clock: () => now })
    }
  }
  let signer = log.key
  let witness = open()
  const restart = () => {
    witness[Symbol.dispose]()
    witness = open()
    const size = witness.logs()[0]?.last?.size ?? 0
    assert.ok(size >= seen.size, `it went back from ${seen.size} to ${size}`)
  }
  for (let step = 0; step < 4; step++) {
    now += 1_000
    log.append(`leaf ${step}`)
    const from = log.size - 1
    const [mine, other] = [log.request(from, log.size, signer), forked(log, from).request(from, log.size, signer)]
    if (witness.addCheckpoint(mine).outcome === 'cosigned') seen.cosigned(log.size, log.root(log.size))
    else refused++
    // A tree that was not cosigned may have been kept all the same: then a start takes it for cosigned.
    if (step % 2 === 1) restart()
    const again = log.request(log.size, log.size, signer)
    if (witness.addCheckpoint(again).outcome === 'cosigned') seen.cosigned(log.size, log.root(log.size))
    if (step % 2 === 0) restart()
    for (const [tree, body] of [
      [forked(log, from), other],
      [log, mine],
    ] as const) {
      if (witness.addCheckpoint(body).outcome === 'cosigned') seen.cosigned(tree.size, tree.root(tree.size))
    }
    if (!areSameBytes(seen.root, log.root(log.size))) return refused // it chose the other one, as well it may after a fault
    assert.equal(witness.addCheckpoint(again).outcome, 'cosigned', 'the disk is well again')
    if (step !== 2) continue
    const { note, next } = log.rotate(log.size)
    if (witness.addHandOver(note).outcome !== 'accepted') {
      refused++
      assert.equal(witness.addHandOver(note).outcome, 'accepted')
    }
    signer = next
  }
  witness[Symbol.dispose]()
  open()[Symbol.dispose]()
  return refused
}

function forked(log: WitnessedLog, size: number): WitnessedLog {
  const fork = log.fork(size)
  fork.append(`another ${size}`)
  return fork
}

/** What was cosigned, as somebody sees it who gets all answers. */
function createRecord() {
  const roots = new Map<number, Hash>()
  return {
    size: 0,
    root: new Uint8Array() as Hash,
    cosigned(size: number, root: Hash) {
      assert.ok(areSameBytes(roots.get(size) ?? root, root), `two trees of ${size} were cosigned`)
      assert.ok(size >= this.size, `${size} was cosigned after ${this.size}`)
      roots.set(size, root)
      this.size = size
      this.root = root
    },
  }
}

/** Node's file functions, until disposed. */
function failingDisk(fault: (name: string) => Moment | undefined): Disposable & { hasFailed(): boolean } {
  let hasFailed = false
  const originals = OPERATIONS.map(name => [name, fs[name]] as const)
  for (const [name, original] of originals) {
    const failing = (...args: unknown[]): unknown => {
      const moment = fault(name)
      hasFailed ||= moment !== undefined
      if (moment === 'before') throw diskError(name)
      const result = Reflect.apply(original, fs, args)
      if (moment === 'after') throw diskError(name)
      return result
    }
    Object.assign(fs, { [name]: failing })
  }
  syncBuiltinESMExports()
  return {
    hasFailed: () => hasFailed,
    [Symbol.dispose]() {
      Object.assign(fs, Object.fromEntries(originals))
      syncBuiltinESMExports()
    },
  }
}

const diskError = (name: string) => Object.assign(new Error(`EIO: i/o error, ${name}`), { code: 'EIO', syscall: name })

test('witness: a first start that was cut between its two files begins anew; with a log in the state it does not', () => {
  const folder = join(mkdtempSync(join(tmpdir(), 'evc-witness-fault-')), 'witness')
  const log = createWitnessedLog()
  log.append('a')
  const options = { folder, logs: [parseVerifierKey(log.verifierKey)!], logger: pino({ enabled: false }) }
  try {
    openWitness(options)[Symbol.dispose]()
    rmSync(join(folder, 'key.pem'))
    const witness = openWitness(options)
    assert.equal(witness.addCheckpoint(log.request(0)).outcome, 'cosigned')
    witness[Symbol.dispose]()
    rmSync(join(folder, 'key.pem'))
    assert.throws(() => openWitness(options), { code: 'WITNESS_STATE_DAMAGED' })
  } finally {
    rmSync(join(folder, '..'), { recursive: true })
  }
})
