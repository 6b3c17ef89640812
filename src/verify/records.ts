/**
 * What was done to the log must be in the log: erasures have tombstones, ranges that left have an ARCHIVED event, hand-overs of the
 * key a LOG_KEY_ROTATED one. What the database claims is held against these events. Their rows are verified like all others; of an
 * event whose own row left with an archive, its entry still says what it was.
 */
import { sha256 } from '../evidence/crypto.ts'
import { encodeText } from '../evidence/encoding.ts'
import type { KeyChain } from './chain.ts'
import type { ArchiveClaim, LogEntry, LogRecord, RowsOverview } from './source.ts'
import type { Finding } from './verdict.ts'

export interface RecordsSeen {
  /** Of rows. */
  readonly rows: readonly LogRecord[]
  /** Of entries whose rows are not there. */
  readonly entries: readonly LogEntry[]
  /** Ids of rows that are not those of their leaves: what they say is not used against others. */
  readonly bad: ReadonlySet<number>
  /** Of the log. */
  readonly size: number
}

/**
 * What is wrong with single events is told first; whether a tombstone is of its events as a whole is asked only if nothing was.
 * @param erased ids of rows whose salt is gone, ascending
 */
export function checkErasures(erased: readonly number[], overview: RowsOverview, seen: RecordsSeen): Finding[] {
  const { erasures, areErasuresOfSome, archives } = overview
  const claims = new Map(erasures.map(claim => [claim.id, claim]))
  const isErased = new Set(erased)
  const hasLeft = (id: number) => archives.some(({ first, last }) => id >= first && id <= last)
  const findings = erased.filter(id => !claims.has(id)).map(id => without(id, 'Its salt is gone'))
  for (const { id, tombstone } of erasures) {
    if (!isErased.has(id) && !hasLeft(id)) {
      findings.push(without(id, `Event ${tombstone} is said to have erased it, and it is there`))
    } else if (areErasuresOfSome && tombstone > seen.size) {
      const detail = `Event ${tombstone}, which is said to tell of its erasure, is behind the end of the log that is given`
      findings.push({ verdict: 'UNVERIFIABLE', at: { id }, detail })
    } else if (!isTombstone(tombstone, seen) || tombstone <= id) {
      findings.push(without(id, `Event ${tombstone}, which is said to tell of it, does not`))
    } else if (hasLeft(tombstone) && !hasLeft(id)) {
      const detail = `Event ${tombstone}, which tells of its erasure, left with an archive; here it does not say of which events`
      findings.push({ verdict: 'UNVERIFIABLE', at: { id }, detail })
    }
  }
  return findings.length > 0 ? findings : [...checkTombstones(overview, seen)]
}

function isTombstone(tombstone: number, { rows, entries, bad }: RecordsSeen): boolean {
  const tells = ({ id, reason }: { id: number; reason: string }) => id === tombstone && reason === 'ERASED'
  return bad.has(tombstone) || rows.some(tells) || entries.some(tells)
}

function* checkTombstones(
  { erasures, areErasuresOfSome }: RowsOverview,
  { rows, bad }: RecordsSeen,
): Generator<Finding> {
  const groups = Map.groupBy(erasures, claim => claim.tombstone)
  for (const record of rows) {
    if (record.reason !== 'ERASED' || bad.has(record.id)) continue
    const ids = (groups.get(record.id) ?? []).map(({ id }) => id).sort((a, b) => a - b)
    const { count, ids_sha256 } = readMetadata(record)
    if (areErasuresOfSome && Number(count) > ids.length) continue // the others are where nobody is asked
    if (count === ids.length && (count === 0 || ids_sha256 === hexOf(sha256(encodeText(ids.join('\n')))))) continue
    yield without(ids[0] ?? record.id, `Event ${record.id} tells of other erasures than those that are there`)
  }
}

const without = (id: number, detail: string): Finding => ({ verdict: 'ERASED_WITHOUT_RECORD', at: { id }, detail })

/**
 * An archive that something was erased from was written anew, so that its manifest is another one than the event tells of by which it
 * left: it is the one that the last erasure tells of. An older copy verifies alone, so that the log has to say which is the newest.
 */
export function* checkArchives({ archives, erasures }: RowsOverview, seen: RecordsSeen): Generator<Finding> {
  let leftAlong = seen.entries.filter(({ reason }) => reason === 'ARCHIVED').length
  for (const claim of archives) {
    const at = { id: claim.first }
    const tombstones = erasures.filter(({ id }) => id >= claim.first && id <= claim.last).map(each => each.tombstone)
    const last = Math.max(0, ...tombstones)
    const isTold = seen.rows.some(record => isRecordOf(record, claim, last))
    // While rows are wrong, the one that tells of it may be among them; and by a wrong tombstone it looks like that of another archive.
    const isCertain = seen.bad.size === 0 && tombstones.every(tombstone => isTombstone(tombstone, seen))
    if (!isTold && isCertain && leftAlong-- <= 0) {
      yield { verdict: 'DELETED', at, detail: `No event says that it left with archive ${claim.number}` }
    }
    const part = { part: `the manifest of archive ${claim.number}` }
    const told = toldManifest(claim, last, seen)
    if (told !== undefined && told !== claim.manifestSha256) {
      yield { verdict: 'EDITED', at: part, detail: 'The one on record is not the one that the last erasure tells of' }
    } else if (claim.foundSha256 !== undefined && claim.foundSha256 !== claim.manifestSha256) {
      const detail = isOlder(claim, seen)
        ? 'It is an older one: what was erased since is still in its archive'
        : 'It is not the one that was written'
      yield { verdict: 'EDITED', at: part, detail }
    }
  }
}

/** Undefined when the event does not say, or not here: of an earlier version, or one of very many archives, or its row has left. */
function toldManifest({ number }: ArchiveClaim, tombstone: number, { rows, bad }: RecordsSeen): string | undefined {
  const record = rows.find(({ id, reason }) => id === tombstone && reason === 'ERASED' && !bad.has(id))
  return record && manifestIn(record, number)
}

/** Whether it is the one that left, or that an erasure before the last one made. */
function isOlder({ number, foundSha256 }: ArchiveClaim, { rows }: RecordsSeen): boolean {
  return rows.some(record => {
    const { archive, manifest_sha256 } = readMetadata(record)
    return (archive === number && manifest_sha256 === foundSha256) || manifestIn(record, number) === foundSha256
  })
}

function manifestIn(record: LogRecord, number: number): string | undefined {
  return manifestsToldBy(record.metadata).get(number)
}

/** Digests of manifests by the numbers of the archives that an erasure wrote anew. */
export function manifestsToldBy(metadata: string | null): ReadonlyMap<number, string> {
  const { manifests } = readMetadata({ metadata })
  if (typeof manifests !== 'object' || manifests === null) return new Map()
  return new Map(Object.entries(manifests).map(([number, digest]) => [Number(number), String(digest)]))
}

/** @param erasedBy the last event that erased something in it: one behind the record had its manifest written anew */
function isRecordOf(record: LogRecord, { number, first, last, manifestSha256 }: ArchiveClaim, erasedBy: number) {
  const { archive, first_id, last_id, manifest_sha256 } = readMetadata(record)
  const isSame = erasedBy > record.id || manifest_sha256 === manifestSha256
  return record.reason === 'ARCHIVED' && archive === number && first_id === first && last_id === last && isSame
}

export function* checkHandOvers(chain: KeyChain, seen: RecordsSeen): Generator<Finding> {
  for (const record of seen.rows) {
    if (record.reason !== 'LOG_KEY_ROTATED' || seen.bad.has(record.id)) continue
    const { note, note_sha256 } = readMetadata(record)
    if (Array.isArray(note) && chain.notes.includes(note.join('\n'))) continue
    if (chain.notes.some(known => hexOf(sha256(encodeText(known))) === note_sha256)) continue
    yield { verdict: 'WRONG_KEY', at: { id: record.id }, detail: 'It tells of a hand-over that the key chain has not' }
  }
}

function readMetadata({ metadata }: Pick<LogRecord, 'metadata'>): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(metadata ?? '')
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}
