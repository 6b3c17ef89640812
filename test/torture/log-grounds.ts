/**
 * Signed logs of several shapes that mutations are applied to, each made once, by the parts of the service: with erasures, a key that
 * was handed over, to another one or to two, a segment that left as an archive and from which something was erased before and afterwards,
 * and a mirror.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { archiveSegments } from '../../src/archive/archive.ts'
import { sampleEvent } from '../contract/event-store.ts'
import { pathsOf } from '../harness/old-trail.ts'
import { createSignedLog, type SignedLog, writeMirror } from '../harness/signed-log.ts'
import type { Random } from './random.ts'

export interface Shape {
  readonly events: number
  /** Behind the newest checkpoint. */
  readonly unsigned: number
  readonly erased: readonly number[]
  readonly rotates: boolean
  /** The key that was handed over to has an ML-DSA-44 key beside it. */
  readonly withMlDsa44: boolean
  readonly archives: boolean
}

export interface Ground {
  readonly shape: Shape
  readonly log: SignedLog
  readonly mirror: string
  /** Leaves. */
  readonly size: number
  readonly signedSize: number
  readonly tombstone: number | undefined
  /** The first id that is in the database. */
  readonly firstId: number
  /** Of the first, retired key when there are two. */
  readonly firstSigned: string
}

/** Sizes at which something begins: bundles, segments. */
const EDGES = [1, 2, 255, 256, 257, 511, 512, 1_023, 1_024, 1_025, 1_280, 2_047, 2_048, 2_049, 3_000]

export function drawShape(random: Random): Shape {
  const events = random.chance(0.7) ? random.pick(EDGES) : random.between(1, 3_000)
  const erased = random.chance(0.5)
    ? [...new Set(Array.from({ length: random.between(1, 5) }, () => random.between(1, events)))].sort((a, b) => a - b)
    : []
  const rotates = random.chance(0.4)
  return {
    events,
    unsigned: random.chance(0.5) ? 0 : random.between(1, 300),
    erased: erased,
    rotates,
    withMlDsa44: rotates && random.chance(0.5),
    archives: events > 2_048 && random.chance(0.7),
  }
}

/** Whose events are erased before a segment leaves, and afterwards. */
const SUBJECTS = ['CP-gone', 'CP-forgotten'] as const

const subjectOf = ({ erased }: Shape, id: number) => SUBJECTS[erased.indexOf(id) % SUBJECTS.length]

export async function makeGround(shape: Shape): Promise<Ground> {
  const log = createSignedLog(mkdtempSync(join(tmpdir(), 'evc-ground-')))
  const event = (n: number) => sampleEvent(n, shape.erased.includes(n) ? { who: subjectOf(shape, n)! } : {})
  const half = Math.ceil(shape.events / 2)
  await log.append(half, event)
  const firstSigned = log.sign()
  if (shape.events > half) await log.append(shape.events - half, event)
  log.sign()
  if (shape.rotates) {
    await log.rotate(shape.withMlDsa44)
    log.sign()
  }
  const [before, after] = SUBJECTS
  const tombstone = shape.erased.length > 0 ? await log.erase(before) : undefined
  if (shape.archives) {
    log.sign()
    await archiveFirstSegment(log)
  }
  if (shape.erased.length > 1) await log.erase(after)
  log.sign()
  const signedSize = log.size()
  if (shape.unsigned > 0) await log.append(shape.unsigned)
  const mirror = `${log.path}-mirror`
  if (shape.unsigned === 0) writeMirror(log, mirror)
  const firstId = shape.archives ? 1_025 : 1
  return { shape, log, mirror, size: log.size(), signedSize, tombstone, firstId, firstSigned }
}

export function removeGround({ log, mirror }: Ground): void {
  log.remove()
  rmSync(mirror, { recursive: true, force: true })
}

/** Of the sample events the one with number n is n seconds old, from here on. */
const FIRST_EVENT = Date.UTC(2026, 0, 1)

async function archiveFirstSegment(log: SignedLog): Promise<void> {
  const beforeMs = FIRST_EVENT + 1_025_000
  const { archived } = await archiveSegments({ ...pathsOf(log.path), beforeMs, actor: 'cli:test' })
  assert.equal(archived.length, 1)
}

/** A copy to be spoilt. */
export function copyGround(ground: Ground): { readonly path: string; readonly mirror: string; remove(): void } {
  const place = mkdtempSync(join(tmpdir(), 'evc-mutation-'))
  const [path, mirror] = [join(place, 'data'), join(place, 'mirror')]
  cpSync(ground.log.path, path, { recursive: true })
  if (ground.shape.unsigned === 0) cpSync(ground.mirror, mirror, { recursive: true })
  return { path, mirror, remove: () => rmSync(place, { recursive: true, force: true }) }
}
