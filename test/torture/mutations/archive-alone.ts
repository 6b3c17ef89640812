/** An archive away from its log: each part of what it is verified by, its rows and its salts. */
import { readFileSync, writeFileSync } from 'node:fs'
import { formatVerifierKey } from '../../../src/evidence/note.ts'
import { ORIGIN } from '../../harness/signed-log.ts'
import { createKey } from '../../unit/evidence/keys-under-test.ts'
import type { Mutation, Place } from '../log-mutations.ts'
import { ARCHIVED, anyId, fileOf, forArchives, rewrite } from './archive.ts'
import { changeCharacter, flipByte } from './files.ts'

interface Manifest {
  readonly log: {
    readonly proof: {
      readonly bundles: string[]
      edge: string[]
      consistency: string[]
      checkpoint: string
      keys: string
    }
  }
  readonly erased?: { event: number; ids: number[] }[]
}

const look = 'archive alone'
/** The first of the 256 that it is one of: more exactly an archive alone does not say. */
const bundleOf = (id: number) => Math.floor((id - 1) / 256) * 256 + 1

function editManifest(place: Place, edit: (manifest: Manifest) => void): void {
  const path = fileOf(place, '.manifest.json')
  const manifest = JSON.parse(readFileSync(path, 'utf8'))
  edit(manifest)
  writeFileSync(path, JSON.stringify(manifest))
}

function editProof(place: Place, edit: (proof: Manifest['log']['proof']) => void): void {
  editManifest(place, ({ log }) => edit(log.proof))
}

const erasedIn = ({ ground }: Place) => ground.shape.erased.filter(id => id <= ARCHIVED)

/** One whose salt is gone, and where its commitment is in the file. */
function anyErased(place: Place): { readonly id: number; readonly at: number } | undefined {
  const ids = erasedIn(place)
  if (ids.length === 0) return undefined
  const id = place.random.pick(ids)
  return { id, at: ARCHIVED * 16 + ids.indexOf(id) * 32 }
}

export const ALONE_MUTATIONS: Readonly<Record<string, Mutation>> = {
  'archive alone: a row edited': forArchives(place => {
    const id = anyId(place)
    rewrite(place, lines => lines.with(id - 1, JSON.stringify({ ...JSON.parse(lines[id - 1]!), ip: '192.0.2.1' })))
    return { verdicts: ['EDITED'], id: bundleOf(id), look }
  }),
  'archive alone: a row deleted': forArchives(place => {
    const id = place.random.between(1, ARCHIVED)
    rewrite(place, lines => lines.toSpliced(id - 1, 1))
    return { verdicts: ['DELETED'], id, look }
  }),
  'archive alone: a row inserted': forArchives(place => {
    const id = ARCHIVED + place.random.between(1, 9)
    rewrite(place, lines => [...lines, JSON.stringify({ ...JSON.parse(lines[0]!), id })])
    return { verdicts: ['INSERTED'], id, look }
  }),
  'archive alone: a row twice': forArchives(place => {
    const id = place.random.between(1, ARCHIVED)
    rewrite(place, lines => lines.toSpliced(id, 0, lines[id - 1]!))
    return { verdicts: ['INSERTED'], id, look }
  }),
  'archive alone: two rows exchanged': forArchives(place => {
    const [a, b] = [anyId(place), anyId(place)].sort((x, y) => x - y) as [number, number]
    if (a === b) return undefined
    rewrite(place, lines => {
      const [one, other] = [JSON.parse(lines[a - 1]!), JSON.parse(lines[b - 1]!)]
      const inPlace = (row: object, id: number) => JSON.stringify({ ...row, id })
      return lines.with(a - 1, inPlace(other, a)).with(b - 1, inPlace(one, b))
    })
    return { verdicts: ['EDITED'], id: bundleOf(a), look }
  }),
  'archive alone: a byte flipped': forArchives(place => {
    const path = fileOf(place, '.ndjson.gz')
    flipByte(path, place.random.between(0, readFileSync(path).length - 1), place.random)
    return { verdicts: ['MALFORMED', 'EDITED', 'DELETED'], look }
  }),
  'archive alone: a salt edited': forArchives(place => {
    const id = anyId(place)
    flipByte(fileOf(place, '.salts'), (id - 1) * 16 + place.random.between(0, 15), place.random)
    return { verdicts: ['EDITED'], id: bundleOf(id), look }
  }),
  'archive alone: a salt destroyed': forArchives(place => {
    const id = anyId(place)
    const path = fileOf(place, '.salts')
    writeFileSync(path, readFileSync(path).fill(0, (id - 1) * 16, id * 16))
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id, look }
  }),
  'archive alone: a commitment edited': forArchives(place => {
    const erased = anyErased(place)
    if (erased === undefined) return undefined
    flipByte(fileOf(place, '.salts'), erased.at + place.random.between(0, 31), place.random)
    return { verdicts: ['EDITED'], id: bundleOf(erased.id), look }
  }),
  'archive alone: an erased row not blank': forArchives(place => {
    const erased = anyErased(place)
    if (erased === undefined) return undefined
    const { id } = erased
    rewrite(place, lines => lines.with(id - 1, JSON.stringify({ ...JSON.parse(lines[id - 1]!), who: 'CP-1' })))
    return { verdicts: ['EDITED'], id: bundleOf(id), look }
  }),
  'archive alone: an erasure that nothing tells of': forArchives(place => {
    const erased = anyErased(place)
    if (erased === undefined) return undefined
    editManifest(place, manifest => {
      for (const group of manifest.erased ?? []) group.ids = group.ids.filter(id => id !== erased.id)
    })
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id: erased.id, look }
  }),
  'archive alone: an erasure that did not happen': forArchives(place => {
    const id = anyId(place)
    if (erasedIn(place).length === 0) return undefined
    editManifest(place, manifest => manifest.erased?.[0]?.ids.push(id))
    return { verdicts: ['ERASED_WITHOUT_RECORD'], id, look }
  }),
  'archive alone: a hash of 256 leaves edited': forArchives(place => {
    const n = place.random.between(0, 3)
    editProof(place, ({ bundles }) => bundles.splice(n, 1, bundles[(n + 1) % 4]!))
    return { verdicts: ['EDITED'], id: n * 256 + 1, look }
  }),
  'archive alone: the edge edited': forArchives(place => {
    editProof(place, ({ edge, bundles }) => edge.push(bundles[0]!))
    return { verdicts: ['EDITED'], look }
  }),
  'archive alone: the consistency edited': forArchives(place => {
    editProof(place, ({ consistency, bundles }) => {
      consistency.splice(place.random.between(0, consistency.length - 1), 1, bundles[0]!)
    })
    return { verdicts: ['EDITED'], look }
  }),
  'archive alone: the checkpoint edited': forArchives(place => {
    editProof(place, proof => Object.assign(proof, { checkpoint: changeCharacter(proof.checkpoint, place.random) }))
    return { verdicts: ['WRONG_KEY', 'MALFORMED', 'EDITED'], look }
  }),
  'archive alone: an older checkpoint': forArchives(place => {
    editProof(place, proof => Object.assign(proof, { checkpoint: place.ground.firstSigned }))
    return { verdicts: ['EDITED'], look }
  }),
  'archive alone: keys of a stranger': forArchives(place => {
    const keys = `${JSON.stringify({ verifier: formatVerifierKey(createKey(ORIGIN).key) })}\n`
    editProof(place, proof => Object.assign(proof, { keys }))
    return { verdicts: ['WRONG_KEY'], look }
  }),
  'archive alone: without its proof': forArchives(place => {
    editManifest(place, ({ log }) => Reflect.deleteProperty(log, 'proof'))
    return { verdicts: ['UNVERIFIABLE'], look }
  }),
}
