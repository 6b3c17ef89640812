/** A log in memory with an attack in it, and evidence packs of it, made as the service makes them. */
import assert from 'node:assert/strict'
import { strFromU8, strToU8, unzipSync, zipSync } from 'fflate'
import type { StoredEvent } from '../../src/event/event.ts'
import { formatCheckpoint } from '../../src/evidence/checkpoint.ts'
import { sha256 } from '../../src/evidence/crypto.ts'
import { formatBase64, formatHex, parseBase64 } from '../../src/evidence/encoding.ts'
import { formatKeyChain, handOver, type KeyChain, startKeyChain } from '../../src/evidence/key-chain.ts'
import { commit, ERASED_COLUMNS, type EventRow, formatLeaf } from '../../src/evidence/leaf.ts'
import { inclusionProof } from '../../src/evidence/merkle-proof.ts'
import { formatNote, formatVerifierKey, SIGNATURE_TYPE } from '../../src/evidence/note.ts'
import { formatManifest, PACK_PARTS, type PackManifest, type PackPart, parseManifest } from '../../src/evidence/pack.ts'
import { formatPackNote } from '../../src/evidence/pack-note.ts'
import { createSignature } from '../../src/evidence/signature.ts'
import { type PackSource, writePack } from '../../src/pack/write-pack.ts'
import { createKey, type KeyUnderTest } from '../unit/evidence/keys-under-test.ts'
import { createLog, hashesOf } from '../unit/evidence/log-under-test.ts'

export const PACK_ORIGIN = 'log.example.com/packs'
export const HOSTILE = '</script><img src=x onerror="document.title=\'owned\'">\u202egnp.exe & <b>bold</b>'
export const ERASED_ID = 5

const rowOf = (id: number): EventRow => ({
  id,
  date_time: new Date(Date.UTC(2026, 2, 1, 8, 0, id)).toISOString(),
  who: `CP-${id % 3}`,
  ip: id % 3 === 0 ? '192.0.2.1' : '203.0.113.9',
  action: 'AUTH_FAIL',
  description: 'Wrong secret',
  severity: 'WARN',
  reason_code: 'INVALID_CREDENTIALS',
  request_id: null,
  endpoint: '/auth/credentials',
  http_method: 'POST',
  status_code: 401,
  metadata_json: '{"attempt":1}',
  created_at: '2026-03-01T09:00:00.000Z',
})
const SPECIAL: Readonly<Record<number, Partial<EventRow>>> = {
  7: { who: HOSTILE, description: HOSTILE, metadata_json: JSON.stringify({ sent: HOSTILE }) },
  20: {
    action: 'INCIDENT',
    severity: 'CRITICAL',
    who: 'unknown',
    ip: '203.0.113.9',
    reason_code: 'BRUTE_FORCE_SUSPECTED',
    description: 'Brute force suspected from IP 203.0.113.9',
    metadata_json: '{"scope":"ip"}',
  },
  22: { action: 'AUTH_SUCCESS', severity: 'INFO', ip: '203.0.113.9', who: 'CP-1', reason_code: null, status_code: 200 },
  23: { action: 'KEY_REVOKE', severity: 'WARN', who: 'CP-1', ip: '-', reason_code: null, description: 'Key revoked' },
}

const FIRST = createKey(PACK_ORIGIN)
const SECOND = createKey(PACK_ORIGIN)
/** The first key signs up to here. */
const HANDED_OVER_AT = 10

const logged = Array.from({ length: 300 }, (_, i): EventRow => ({ ...rowOf(i + 1), ...SPECIAL[i + 1] }))
/** As they are stored now. */
const rows = logged.map(row => (row.id === ERASED_ID ? { ...row, ...ERASED_COLUMNS } : row))
const saltOf = (id: number) => new Uint8Array(16).fill((id % 255) + 1)
const log = createLog(logged.map(row => formatLeaf(row, commit(saltOf(row.id), row))))

const OF_ALL = formatCheckpoint({ origin: PACK_ORIGIN, size: rows.length, root: log.tree.root(), extensions: [] })

export function signCheckpoint(signers: readonly KeyUnderTest[] = [SECOND], text = OF_ALL): string {
  return formatNote({ text, signatures: signers.map(({ key, sign }) => createSignature(key, text, sign)) })
}

export const packChain: KeyChain = handOver(startKeyChain(FIRST.key), HANDED_OVER_AT, [FIRST], [SECOND])
export const firstKey = formatVerifierKey(FIRST.key)
export const signerKey = formatVerifierKey(SECOND.key)
export const signCheckpointByRevokedKey = () => signCheckpoint([FIRST])
export function signManifest(manifest: string, signers: readonly KeyUnderTest[] = [SECOND]): string {
  return formatPackNote(signers[0]?.key.name ?? '', strToU8(manifest), signers)
}
export const signManifestByRevokedKey = (manifest: string) => signManifest(manifest, [FIRST])

/** Of a log that has announced an ML-DSA-44 key: the Ed25519 key before it, and the two that sign. */
const ANNOUNCER = createKey(PACK_ORIGIN)
export const PAIR = [createKey(PACK_ORIGIN), createKey(PACK_ORIGIN, SIGNATURE_TYPE.mlDsa44Cosignature)] as const
export const announcerKey = ANNOUNCER.key

/** The same files, as of that log; the checkpoint is signed by these. */
export function withTwoKeys(files: PackFiles, signers: readonly KeyUnderTest[] = PAIR): PackFiles {
  const keys = formatKeyChain(handOver(startKeyChain(ANNOUNCER.key), 0, [ANNOUNCER], PAIR))
  const checkpoint = signCheckpoint(signers)
  return withOwnManifest(new Map([...files, ['keys', strToU8(keys)], ['checkpoint', strToU8(checkpoint)]]))
}

/** The source that a pack is made of. Events match by time, charge point and address. */
export const packSource: PackSource = {
  checkpoint: signCheckpoint(),
  keys: formatKeyChain(packChain),
  signManifest: async manifest => signManifest(manifest),
  queries: {
    event: async id => rows[id - 1] as StoredEvent | undefined,
    count: async ({ filter }) => matching(filter).length,
    missing: async () => [],
    async provenEvents({ filter, after, size, limit }) {
      const left = matching(filter).filter(({ id }) => id > after && id <= size)
      const events = left.slice(0, limit).map(row => {
        const salt = saltOf(row.id)
        const opening = row.id === ERASED_ID ? { commitment: commit(salt, logged[ERASED_ID - 1]!) } : { salt }
        return { event: row as StoredEvent, opening, hashes: inclusionProof(row.id - 1, size, hashesOf(log)) }
      })
      return { events, next: left.length > limit ? (events.at(-1)?.event.id ?? null) : null }
    },
  },
}

function matching({
  start_time = '',
  end_time = '',
  who,
  ip,
}: Parameters<PackSource['queries']['count']>[0]['filter']) {
  return rows.filter(
    row =>
      row.date_time >= start_time &&
      row.date_time < end_time &&
      (who === undefined || row.who === who) &&
      (ip === undefined || row.ip === ip),
  )
}

export type PackFiles = Map<string, Uint8Array>

/** The first 290 of the 300 events. */
export const SELECTION = {
  start_time: '2026-03-01T08:00:00.000Z',
  end_time: '2026-03-01T08:04:51.000Z',
  cp_id: null,
  incident: null,
}

export async function makeZip(selection: Parameters<typeof writePack>[1] = SELECTION): Promise<Buffer> {
  const { zip } = await writePack(packSource, selection)
  return Buffer.concat([...zip])
}

export async function makePack(selection?: Parameters<typeof writePack>[1]): Promise<PackFiles> {
  return new Map(Object.entries(unzipSync(await makeZip(selection))))
}

/**
 * With a manifest that fits the files again, as somebody makes it who changed them on purpose, and drops what would give it away: the
 * log's note, and the page, which holds the old one.
 */
export function withOwnManifest(files: PackFiles, change: Partial<PackManifest> = {}): PackFiles {
  const manifest = parseManifest(files.get('manifest.json') ?? assert.fail())
  assert.ok(typeof manifest === 'object')
  const digests = PACK_PARTS.map(part => {
    const bytes = files.get(part) ?? assert.fail()
    return [part, { bytes: bytes.length, sha256: formatHex(sha256(bytes)) }] as const
  })
  const own = {
    ...manifest,
    ...change,
    files: Object.fromEntries(digests) as Record<PackPart, PackManifest['files'][PackPart]>,
  }
  const made = new Map([...files, ['manifest.json', strToU8(formatManifest(own))] as const])
  made.delete('manifest.note')
  made.delete('index.html')
  return made
}

const INLINE =
  /(<script type="text\/plain" id="pack">)([^<]*)(<\/script>\n<script type="text\/plain" id="pack-digest">)([^<]*)/

/** The same page with other files in it, and a digest that fits. */
export function pageWith(page: string, change: (files: PackFiles) => PackFiles): string {
  return page.replace(INLINE, (_all, open: string, base64: string, between: string) => {
    const files = change(new Map(Object.entries(unzipSync(parseBase64(base64) ?? assert.fail()))))
    const changed = formatBase64(zipSync(Object.fromEntries(files)))
    return `${open}${changed}${between}${formatHex(sha256(strToU8(changed)))}`
  })
}

/** Where in the page the files are, in base64. */
export function inlineRange(page: string): { start: number; end: number } {
  const [, open = '', base64 = ''] = INLINE.exec(page) ?? []
  const start = page.search(INLINE) + open.length
  return { start, end: start + base64.length }
}

export const pageOf = (files: PackFiles): string => strFromU8(files.get('index.html') ?? assert.fail())

export function flipped(bytes: Uint8Array, at: number): Uint8Array {
  return bytes.map((byte, i) => (i === at ? byte ^ 1 : byte))
}
