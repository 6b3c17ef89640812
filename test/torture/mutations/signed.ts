/** Checkpoints, their history and the key chain. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatCheckpoint, parseCheckpoint } from '../../../src/evidence/checkpoint.ts'
import { formatNote, formatVerifierKey, parseNote, SIGNATURE_TYPE } from '../../../src/evidence/note.ts'
import { createSignature } from '../../../src/evidence/signature.ts'
import { ORIGIN } from '../../harness/signed-log.ts'
import { createKey, type KeyUnderTest } from '../../unit/evidence/keys-under-test.ts'
import type { Mutation, Place } from '../log-mutations.ts'
import { changeCharacter } from './files.ts'
import { rootOf } from './log.ts'

const file = ({ path }: Place, name: string) => join(rootOf(path), name)
const read = (place: Place, name: string) => readFileSync(file(place, name), 'utf8')
const lines = (place: Place, name: string) => read(place, name).split('\n').slice(0, -1)
const writeLines = (place: Place, name: string, all: readonly string[]) =>
  writeFileSync(file(place, name), all.map(line => `${line}\n`).join(''))

function signedBy(key: KeyUnderTest, size: number, root: Uint8Array): string {
  const text = formatCheckpoint({ origin: ORIGIN, size, root, extensions: [] })
  return formatNote({ text, signatures: [createSignature(key.key, text, key.sign)] })
}

function withoutSignature(signed: string, n: number): string {
  const { text, signatures } = parseNote(signed)!
  return formatNote({ text, signatures: signatures.toSpliced(n, 1) })
}

const checkpointOf = (signed: string) => parseCheckpoint(parseNote(signed)!.text)!

/** Another root, signed by the right key: what only the log itself can do. */
function forkOf({ ground, random }: Place, signed: string): string {
  const { size, root } = checkpointOf(signed)
  const other = root.slice()
  other[random.between(0, 31)]! ^= 1
  return ground.log.note(formatCheckpoint({ origin: ORIGIN, size, root: other, extensions: [] }))
}

export const SIGNED_MUTATIONS: Readonly<Record<string, Mutation>> = {
  'checkpoint: edited'(place) {
    writeFileSync(file(place, 'checkpoint'), changeCharacter(read(place, 'checkpoint'), place.random))
    return { verdicts: ['WRONG_KEY', 'MALFORMED'] }
  },
  'checkpoint: signed by a stranger'(place) {
    const { size, root } = checkpointOf(read(place, 'checkpoint'))
    writeFileSync(file(place, 'checkpoint'), signedBy(createKey(ORIGIN), size, root))
    return { verdicts: ['WRONG_KEY'], size }
  },
  'checkpoint: of another tree'(place) {
    writeFileSync(file(place, 'checkpoint'), forkOf(place, read(place, 'checkpoint')))
    return { verdicts: ['FORKED'], size: place.ground.signedSize }
  },
  'checkpoint: an older one'(place) {
    const [first] = lines(place, 'checkpoints')
    if (checkpointOf(JSON.parse(first!)).size === place.ground.signedSize) return undefined
    writeFileSync(file(place, 'checkpoint'), JSON.parse(first!))
    return { verdicts: ['ROLLED_BACK'], size: place.ground.signedSize }
  },
  'checkpoint: an older one, without history'(place) {
    const [first] = lines(place, 'checkpoints')
    if (checkpointOf(JSON.parse(first!)).size === place.ground.signedSize) return undefined
    const trusted = read(place, 'checkpoint')
    writeFileSync(file(place, 'checkpoint'), JSON.parse(first!))
    writeLines(place, 'checkpoints', [first!])
    return { verdicts: ['ROLLED_BACK'], size: place.ground.signedSize, trusted }
  },
  'checkpoint: gone'(place) {
    rmSync(file(place, 'checkpoint'))
    return { verdicts: ['DELETED'] }
  },
  'checkpoint: of the retired key'(place) {
    if (!place.ground.shape.rotates) return undefined
    const stolen = place.ground.log.firstKey
    const { size, root } = checkpointOf(read(place, 'checkpoint'))
    writeFileSync(file(place, 'checkpoint'), signedBy(stolen, size, root))
    return { verdicts: ['REVOKED_KEY'], size }
  },
  'checkpoint: without one of its two signatures'(place) {
    if (!place.ground.shape.withMlDsa44) return undefined
    const signed = read(place, 'checkpoint')
    writeFileSync(file(place, 'checkpoint'), withoutSignature(signed, place.random.between(0, 1)))
    return { verdicts: ['WRONG_KEY'], size: checkpointOf(signed).size }
  },
  'checkpoint: one of its two signatures by a stranger'(place) {
    if (!place.ground.shape.withMlDsa44) return undefined
    const signed = read(place, 'checkpoint')
    const { text, signatures } = parseNote(signed)!
    const n = place.random.between(0, 1)
    const stranger = createKey(ORIGIN, n === 0 ? SIGNATURE_TYPE.ed25519 : SIGNATURE_TYPE.mlDsa44Cosignature)
    const foreign = createSignature(stranger.key, text, stranger.sign)
    writeFileSync(file(place, 'checkpoint'), formatNote({ text, signatures: signatures.with(n, foreign) }))
    return { verdicts: ['WRONG_KEY'], size: checkpointOf(signed).size }
  },
  'history: a line without one of its two signatures'(place) {
    const all = lines(place, 'checkpoints')
    const both = all.flatMap((line, n) => (parseNote(JSON.parse(line))!.signatures.length === 2 ? [n] : []))
    if (both.length === 0) return undefined
    const n = place.random.pick(both)
    const signed = JSON.parse(all[n]!)
    all[n] = JSON.stringify(withoutSignature(signed, place.random.between(0, 1)))
    writeLines(place, 'checkpoints', all)
    return { verdicts: ['WRONG_KEY'], size: checkpointOf(signed).size }
  },
  'history: a line edited'(place) {
    const all = lines(place, 'checkpoints')
    const n = place.random.between(0, all.length - 1)
    all[n] = changeCharacter(all[n]!, place.random)
    writeLines(place, 'checkpoints', all)
    return { verdicts: ['WRONG_KEY', 'MALFORMED'] }
  },
  'history: a line of another tree'(place) {
    if (place.ground.shape.rotates) return undefined // an older key has signed the first ones
    const all = lines(place, 'checkpoints')
    const n = place.random.between(0, all.length - 1)
    const signed = JSON.parse(all[n]!)
    all[n] = JSON.stringify(forkOf(place, signed))
    writeLines(place, 'checkpoints', all)
    return { verdicts: ['FORKED'], size: checkpointOf(signed).size }
  },
  'history: two lines exchanged'(place) {
    const all = lines(place, 'checkpoints')
    const [first, last] = [all[0]!, all.at(-1)!]
    if (checkpointOf(JSON.parse(first)).size === checkpointOf(JSON.parse(last)).size) return undefined
    writeLines(place, 'checkpoints', [last, ...all.slice(1, -1), first])
    return { verdicts: ['FORKED'] }
  },
  'keys: edited'(place) {
    const all = lines(place, 'keys')
    const n = place.random.between(0, all.length - 1)
    all[n] = changeCharacter(all[n]!, place.random)
    writeLines(place, 'keys', all)
    return { verdicts: ['WRONG_KEY', 'MALFORMED'] }
  },
  'keys: of a stranger'(place) {
    writeLines(place, 'keys', [JSON.stringify({ verifier: formatVerifierKey(createKey(ORIGIN).key) })])
    return { verdicts: ['WRONG_KEY'] }
  },
  'keys: without the hand-over'(place) {
    if (!place.ground.shape.rotates) return undefined
    writeLines(place, 'keys', lines(place, 'keys').slice(0, 1))
    return { verdicts: ['WRONG_KEY'] }
  },
}
