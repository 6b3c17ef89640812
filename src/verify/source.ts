/**
 * What a verifier reads, whatever it lies in. An implementation says what is stored and judges nothing; `checkRange` is
 * `checkBundles` (range.ts) over its bundles, here or in a worker.
 *
 * Nothing of a source is trusted: missing parts are `undefined`, parts that cannot be read too, and all may lie.
 */
import type { Hash } from '../evidence/merkle.ts'
import type { Tile } from '../evidence/tile.ts'
import type { Finding } from './verdict.ts'

export interface EvidenceSource extends AsyncDisposable {
  readonly overview: Overview
  /** How many ranges it checks at once in other threads; 0: none, it does so in the caller's. */
  readonly parallel: number
  checkRange(range: BundleRange): Promise<RangeReport>
  /** A tile of level 2 or above. */
  readTile(tile: Tile): Uint8Array | undefined
  /** What only this kind of source can look for: rows that are stored and cannot be reached. */
  lookFurther(): Promise<Finding[]>
}

export interface Overview {
  readonly kind: 'data folder' | 'PostgreSQL' | 'mirror' | 'archive' | 'evidence pack'
  /** Leaves in the log, as the source says. Undefined: it has no head of its own, and the checkpoint says it. */
  readonly head: Head | undefined
  /** The newest signed checkpoint. */
  readonly checkpoint: string | undefined
  /** One that witnesses have cosigned; it need not be the newest. */
  readonly witnessed?: string | undefined
  /** Lines of earlier ones, each a JSON string. */
  readonly history: string | undefined
  /** Lines of the key chain. */
  readonly keys: string | undefined
  /** Undefined when there are no rows in this source. */
  readonly rows: RowsOverview | undefined
  /** What an auditor should know of the source and what is not wrong. */
  readonly notes?: readonly string[]
}

export interface Head {
  readonly size: number
  readonly root: Hash
  /** The roots of the perfect subtrees, one after the other. */
  readonly edge: Uint8Array
  /** Files of leaves above this size may be missing after a power loss; they are made anew from the rows. */
  readonly syncedSize: number
}

export interface RowsOverview {
  /** Highest id of a row that queries reach; 0 without any. */
  readonly lastId: number
  /** Ids that are stored where no query finds them, and what is wrong. */
  readonly hidden: readonly { readonly first: number; readonly last: number; readonly detail: string }[]
  readonly archives: readonly ArchiveClaim[]
  readonly erasures: readonly ErasureClaim[]
  /** Only those of some rows: whoever erased others, too, is not known here. */
  readonly areErasuresOfSome: boolean
  /** Events by which the service says what was done to the log; those of archives come with their ranges. */
  readonly records: readonly LogRecord[]
}

/** That a range of events left as an archive. */
export interface ArchiveClaim {
  readonly number: number
  readonly first: number
  readonly last: number
  readonly manifestSha256: string
  /** Digest of the manifest that lies where it was written to; undefined when it is not there. */
  readonly foundSha256: string | undefined
}

/** That an event was erased, and which event says so. */
export interface ErasureClaim {
  readonly id: number
  readonly tombstone: number
}

export interface LogRecord {
  readonly id: number
  readonly reason: string
  readonly metadata: string | null
}

/** Of such an event, whose row is not here. */
export type LogEntry = Omit<LogRecord, 'metadata'>

export const RECORDED_REASONS = ['ARCHIVED', 'ERASED', 'LOG_KEY_ROTATED'] as const

/** Bundles of 256 leaves, from `first` to before `end`. */
export interface BundleRange {
  readonly first: number
  readonly end: number
  /** Of the whole log. */
  readonly size: number
  /** Ascending; the roots at these sizes are wanted. */
  readonly sizes: readonly number[]
}

/** One bundle of the log, as it is stored in up to four places. */
export interface StoredBundle {
  readonly index: number
  readonly width: number
  /** The entries with their lengths. */
  readonly entries: Uint8Array | undefined
  /** Their file ends before they do. */
  readonly isCut: boolean
  /** The hashes of its leaves; undefined where they are not kept, or missing. */
  readonly tile: Uint8Array | undefined
  /** They are kept here, and missing. */
  readonly lacksTile: boolean
  /** The hash above it; undefined when there is none or the bundle is not full. */
  readonly parent: Hash | undefined
  /** A full bundle has one. */
  readonly lacksParent: boolean
  readonly rows: StoredRows | undefined
}

export interface StoredRows {
  /** 16 bytes each, in the order of the ids. */
  readonly salts: Uint8Array
  /** Of a bundle that has no file of entries yet: 32 bytes each. */
  readonly commitments: Uint8Array | undefined
  /** They left the database, so that `RowsOverview.records` has none of them. */
  readonly areArchived?: true
  /** If this source can make it fast. */
  text(): RowText | undefined
  /** In the order of their ids. */
  values(): FoundRow[]
}

/** The rows of a bundle as canonical JSON with places for salts and commitments (row-text.ts). */
export interface RowText {
  readonly entries: Uint8Array
  readonly privates: Uint8Array
}

/** A row as it was found. Whether the columns are of the right types is for the check to see. */
export interface FoundRow {
  readonly id: number
  readonly date_time: unknown
  readonly who: unknown
  readonly ip: unknown
  readonly action: unknown
  readonly description: unknown
  readonly severity: unknown
  readonly reason_code: unknown
  readonly request_id: unknown
  readonly endpoint: unknown
  readonly http_method: unknown
  readonly status_code: unknown
  readonly metadata_json: unknown
  readonly created_at: unknown
}

export const WITNESSES = ['rows', 'entries', 'tile', 'parent'] as const
/** The places in which the same thing is stored. */
export type Witness = (typeof WITNESSES)[number]

export interface RangeReport {
  readonly first: number
  /** The root of each bundle, 32 bytes, where all agree. */
  readonly roots: Uint8Array
  readonly odd: readonly OddBundle[]
  /** The leaves of bundles in which a wanted size lies. */
  readonly marked: readonly MarkedBundle[]
  /** Of erased rows. */
  readonly erased: readonly number[]
  /** Of leaves of a version that is not known here. */
  readonly unknown: readonly number[]
  /** Archived rows that tell what was done to the log, and entries of bundles without rows: these do not say more. */
  readonly records: readonly (LogRecord | LogEntry)[]
  /** What is wrong and needs no comparison. */
  readonly findings: readonly Finding[]
}

/** The leaves of a bundle, by where they are stored; places of leaves that are missing there are undefined. */
export type Leaves = Partial<Record<'rows' | 'entries' | 'tile', readonly (Hash | undefined)[]>>

export interface MarkedBundle {
  readonly index: number
  readonly leaves: Leaves
}

/** A bundle whose places do not agree. */
export interface OddBundle {
  readonly index: number
  readonly width: number
  readonly roots: Partial<Record<Witness, Hash>>
  readonly lacksTile: boolean
  readonly lacksParent: boolean
  readonly hasRows: boolean
  /** Left out when there are too many. */
  readonly detail:
    | {
        readonly leaves: Leaves
        readonly rows: readonly FoundRow[] | undefined
        readonly salts: Uint8Array | undefined
        readonly entries: readonly (Uint8Array | undefined)[] | undefined
        readonly faults: readonly string[]
      }
    | undefined
}
