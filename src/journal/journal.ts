/**
 * The journal's promise, as an interface; `segment-journal.ts` keeps it.
 *
 * The journal is the record of truth until an event is indexed. It knows records (bytes with a sequence number) and
 * files; it does not know what an event is, and it imports nothing of the other stages.
 */

/**
 * How the wait for a record ended: `durable`, the group fsync that covers it succeeded; `late`, the acknowledgement
 * time-out passed first (the record is still queued or written and will be made durable as soon as the disk allows).
 */
export type Acknowledgement = 'durable' | 'late'

export interface JournalStatus {
  /** `open`: writing. `stalled`: the last write or fsync failed; the queue is kept and retried on a new segment. */
  readonly phase: 'open' | 'stalled' | 'closed'
  readonly appendedSequence: number
  readonly durableSequence: number
  /** Bytes accepted that are not durable yet. */
  readonly queuedBytes: number
  /** Acknowledgements that were late, records refused because the queue was full, failed writes, failed fsyncs. */
  readonly late: number
  readonly refused: number
  readonly writeErrors: number
  readonly syncErrors: number
  /** Code of the last error (`ENOSPC`, `EIO`, ...), null once writing goes on. */
  readonly lastError: string | null
}

export interface Journal {
  /** Identity of this journal, made when its folder was first used; (id, sequence) names a record for ever. */
  readonly id: string

  /**
   * Takes one record and returns its sequence number: 1, 2, 3 ... without gaps over the life of the journal. Returns
   * at once: the record is written and fsynced with its group afterwards, in order.
   * @throws {JournalError} RECORD_TOO_LARGE, QUEUE_FULL (the bounded queue; the record was not taken), CLOSED.
   */
  append(text: string): number

  /** Resolves when the record is durable, or `late` once `ackTimeoutMs` has passed since it was appended. Never rejects. */
  acknowledged(sequence: number): Promise<Acknowledgement>

  /**
   * Goes on in a new segment, unless there is no record in the one being written, and overwrites what the reserve had in it. When
   * this resolves with true, `trim` can delete every record that was durable before the call; false: the journal was closed
   * first. Waits for a failing disk. A crash in it leaves what any change of segments leaves.
   */
  rotate(): Promise<boolean>

  /** Deletes whole segments of which every record is at or below `sequence`. The segment being written always stays. */
  trim(sequence: number): Promise<void>

  status(): JournalStatus

  /** Makes everything accepted durable (as far as the disk allows within `timeoutMs`), then closes the file. */
  close(timeoutMs?: number): Promise<void>
}

/** Reads a journal forward, also while it is written, from another thread or process. One consumer per reader. */
export interface JournalReader {
  /**
   * The next records after the last one returned, at most `limit`, none above `durableSequence`. Empty when there are
   * none yet. Superseded copies (of a segment that was given up after an fsync error) are skipped. The sequence jumps
   * where opening the journal found damage and declared the records in between lost.
   * @throws {JournalError} CORRUPT when a record at or below `durableSequence` cannot be read back.
   */
  read(durableSequence: number, limit: number): JournalRecord[]
  close(): void
}

export interface JournalRecord {
  readonly sequence: number
  readonly text: string
}

/** BEHIND: there are rows of records that the journal does not have; it is older than the database. */
export type JournalErrorCode = 'RECORD_TOO_LARGE' | 'QUEUE_FULL' | 'CLOSED' | 'CORRUPT' | 'FOREIGN' | 'BEHIND'

export class JournalError extends Error {
  override readonly name = 'JournalError'
  readonly code: JournalErrorCode
  constructor(code: JournalErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
