/**
 * The one table of verdicts: code -> exit code of the command line, what it says of a place, what it means. Closed: whatever is
 * found is one of these. docs/verifying.md has this table.
 *
 * Exit codes from 10 on, as 0 to 3 are those of every command.
 */
interface VerdictEntry {
  readonly exit: number
  /** @param where for example `event 17`, `the checkpoint of size 500` */
  readonly sentence: (where: string) => string
  readonly meaning: string
}

export const VERDICTS = {
  PRISTINE: {
    exit: 0,
    sentence: where => `Nothing was changed: ${where}.`,
    meaning: 'Every row, leaf, tile and checkpoint agrees with what was signed.',
  },
  EDITED: {
    exit: 10,
    sentence: where => `Edited: ${where} is not what was logged.`,
    meaning: 'A row, its salt, its entry, a hash of the tree or the head says something else than the signed log.',
  },
  DELETED: {
    exit: 11,
    sentence: where => `Deleted: ${where} was logged and is missing.`,
    meaning: 'A row, entry or tile is gone, and later ones are there. Rows behind it may have moved up.',
  },
  INSERTED: {
    exit: 12,
    sentence: where => `Inserted: ${where} was never logged.`,
    meaning: 'A row that no leaf of the log is of. Rows behind it may have moved down.',
  },
  REORDERED: {
    exit: 13,
    sentence: where => `Reordered: ${where} stands in the place of another.`,
    meaning: 'Rows or entries that were logged, but not at these places.',
  },
  BACK_DATED: {
    exit: 14,
    sentence: where => `Back-dated: ${where} has an earlier time than was logged.`,
    meaning:
      'Only `date_time` or `created_at` differ, and one is earlier than in the log. `EDITED` where the log has only a hash of what it said: of the last events, up to 255, and in evidence packs.',
  },
  TRUNCATED: {
    exit: 15,
    sentence: where => `Truncated: from ${where} on everything is missing.`,
    meaning: 'The end of the rows, or of the log behind a signed checkpoint, was cut off.',
  },
  HIDDEN: {
    exit: 16,
    sentence: where => `Hidden: ${where} is stored, but a query cannot reach it.`,
    meaning:
      'A segment or partition is not listed or not attached, an index has no entry for a row, the times kept of it are others, row security is on, or the view `audit_events` shows something else.',
  },
  FORKED: {
    exit: 17,
    sentence: where => `Forked: the log does not lead to ${where}.`,
    meaning:
      'A validly signed or trusted checkpoint is of another history than the log, or two checkpoints exclude each other.',
  },
  ROLLED_BACK: {
    exit: 18,
    sentence: where => `Rolled back: the log is older than ${where}.`,
    meaning: 'The newest checkpoint is behind one that is known: from `--trusted`, or from the history of checkpoints.',
  },
  WRONG_KEY: {
    exit: 19,
    sentence: where => `Wrong key: ${where} is not signed by the key of the log.`,
    meaning:
      'The signature is missing, wrong, or of a key or an origin that is not the expected one; or the key chain is broken.',
  },
  REVOKED_KEY: {
    exit: 20,
    sentence: where => `Revoked key: ${where} is signed by a key that had been handed over before.`,
    meaning: 'The signature is right, but its key ended at a smaller size of the log.',
  },
  ERASED_WITHOUT_RECORD: {
    exit: 21,
    sentence: where => `Erased without record: no event of the log says that ${where} was erased.`,
    meaning: 'A salt was destroyed, or an erasure is claimed, and the tombstone is missing or is not of these events.',
  },
  MALFORMED: {
    exit: 22,
    sentence: where => `Malformed: ${where} cannot be read.`,
    meaning: 'A file or table is not of the documented format.',
  },
  NOT_WITNESSED: {
    exit: 23,
    sentence: where => `Not witnessed: ${where} has too few of the wanted cosignatures.`,
    meaning: 'Fewer than `--quorum` of the given witnesses signed the newest checkpoint, or the one in `witnessed`.',
  },
  UNVERIFIABLE: {
    exit: 24,
    sentence: where => `Not decided: ${where} cannot be verified.`,
    meaning:
      'Nothing wrong was found, but nothing is proven either: no checkpoint was signed yet, no key is known, a leaf or pack is of a later version, an archive has no proof and stands alone, or a pack cannot be compared with the trusted checkpoint.',
  },
  UNSIGNED_SELECTION: {
    exit: 25,
    sentence: where => `Unsigned: the log does not vouch for ${where}.`,
    meaning:
      'Every event of an evidence pack is as it was logged, but the pack has no note by which the log says what was asked for and found. It was made without the private key, or the note was taken away, as whoever leaves events out has to do.',
  },
} as const satisfies Record<string, VerdictEntry>

export type VerdictCode = keyof typeof VERDICTS
export type VerdictExit = (typeof VERDICTS)[VerdictCode]['exit']

/** Where something was found: at an event, at a checkpoint, or in a part that is of no one event. */
export type Place = { readonly id: number } | { readonly size: number } | { readonly part: string }

export interface Finding {
  readonly verdict: Exclude<VerdictCode, 'PRISTINE'>
  readonly at: Place
  /** What exactly, as a sentence without its full stop: `Its row is not that of its leaf`. No personal data. */
  readonly detail: string
}

export function sentenceOf({ verdict, at, detail }: Finding): string {
  return `${VERDICTS[verdict].sentence(nameOf(at))} ${detail}.`
}

function nameOf(at: Place): string {
  if ('part' in at) return at.part
  return 'id' in at ? `event ${at.id}` : `the checkpoint of size ${at.size}`
}

/** Told last, in this order: nothing is wrong by these alone. */
const LACKING: readonly VerdictCode[] = ['UNVERIFIABLE', 'UNSIGNED_SELECTION']

/** The order in which findings are told: what is wrong, by place, before what is lacking. The first is the verdict. */
export function compareFindings(a: Finding, b: Finding): number {
  return LACKING.indexOf(a.verdict) - LACKING.indexOf(b.verdict) || positionOf(a.at) - positionOf(b.at)
}

function positionOf(at: Place): number {
  if ('part' in at) return Number.MAX_VALUE
  return 'id' in at ? at.id : at.size + 0.5
}
