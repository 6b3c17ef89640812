/** The keys and checkpoints of a log in PostgreSQL, as migrations (src/postgres/migrations.ts): what is files in a data folder. */
import { createOwnersFunction, RUNTIME_ROLE, type Schema } from '../postgres/migrations.ts'
import type { Session } from '../postgres/postgres.ts'

/** `EVCK` in ASCII: whoever signs holds this advisory lock of the database until the checkpoint is committed. */
export const SIGN_LOCK = 0x4556434b

/** A chain of keys only grows: no instance needs, or has, the right to write it anew. */
const APPEND_HAND_OVER = `
BEGIN
  IF line !~ E'^[{]"hand_over":"[^\\n]+"[}]\\n$' THEN
    RAISE EXCEPTION 'that is no line of a key chain' USING ERRCODE = 'check_violation';
  END IF;
  UPDATE log_key_chain SET chain = chain || line;
END`

const addHandOvers = (session: Session) =>
  createOwnersFunction(session, 'evc_append_hand_over(line text)', APPEND_HAND_OVER)
/**
 * What was signed stays for whoever connects as the runtime role: none of it is written anew, it is deleted only as the signer thins
 * it out, so that one an hour is left, and what is kept as witnessed is never beyond the newest, where nothing could follow it.
 */
const FORGET = `
BEGIN
  DELETE FROM log_checkpoints AS old WHERE old.size = forgotten
    AND EXISTS (SELECT FROM (SELECT signed_at FROM log_checkpoints WHERE size < forgotten ORDER BY size DESC LIMIT 1) AS before,
        (SELECT signed_at FROM log_checkpoints WHERE size > forgotten ORDER BY size LIMIT 1) AS next
      WHERE before.signed_at BETWEEN old.signed_at - least(apart, interval '1 hour') AND old.signed_at
        AND next.signed_at <= before.signed_at + interval '1 hour');
END`

/** As limits.ts has it. What was released is never edited, so it is spelled here. */
const NOTE_CHARACTERS_MAX = 262_144

/** Of a note, and the checkpoint `c`. */
function keepsWhatWasSigned(note: string): string {
  return `split_part(c.note, E'\\n\\n', 1) = split_part(${note}, E'\\n\\n', 1)
    AND NOT EXISTS (SELECT FROM regexp_split_to_table(split_part(c.note, E'\\n\\n', 2), E'\\n') AS line
      WHERE starts_with(line, '— ' || split_part(c.note, E'\\n', 1) || ' ') AND strpos(${note}, E'\\n' || line || E'\\n') = 0)`
}

/** What was signed stays as it is, with the signatures of the log; others come and go. */
const COSIGN = `
BEGIN
  UPDATE log_checkpoints AS c SET note = cosigned WHERE c.size = cosigned_size AND length(cosigned) <= ${NOTE_CHARACTERS_MAX}
    AND ${keepsWhatWasSigned('cosigned')};
END`

/**
 * Whether a signature is one, only a signer can tell; what the checkpoint of that size says, and what the log signed of it, is looked up
 * where that one is still kept. So what does not fit is less than the newest checkpoint, and the next one that is witnessed replaces it.
 */
const GUARD_WITNESSED = `
BEGIN
  IF split_part(NEW.note, E'\\n', 2) = NEW.size::text AND NEW.size <= (SELECT size FROM log_head)
    AND length(NEW.note) <= ${NOTE_CHARACTERS_MAX} AND (TG_OP = 'INSERT' OR NEW.size >= OLD.size)
    AND split_part(NEW.note, E'\\n', 1) = (SELECT split_part(note, E'\\n', 1) FROM log_checkpoints
      WHERE size >= NEW.size ORDER BY size DESC LIMIT 1)
    AND NOT EXISTS (SELECT FROM log_checkpoints AS c WHERE c.size = NEW.size AND NOT (${keepsWhatWasSigned('NEW.note')})) THEN
    RETURN NEW;
  END IF;
  RETURN NULL;
END`

const GUARDS = `
  CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON log_witnessed FOR EACH ROW EXECUTE FUNCTION guard_witnessed();
  ${revoke('UPDATE, DELETE ON log_checkpoints')}
`

function revoke(what: string): string {
  return `DO $$ BEGIN
    REVOKE ${what} FROM ${RUNTIME_ROLE};
  EXCEPTION WHEN undefined_object THEN NULL; -- there is no such role
  END $$;`
}

const addForgetting = (session: Session) =>
  createOwnersFunction(session, 'evc_forget_checkpoint(forgotten bigint, apart interval)', FORGET)

async function guardSigned(session: Session): Promise<void> {
  await addForgetting(session)
  await createOwnersFunction(session, 'guard_witnessed()', GUARD_WITNESSED, 'trigger')
  await session.query(GUARDS)
}

/** When a checkpoint was signed is the server's to say: by that, one is told from what somebody puts beside it. */
async function guardNotes(session: Session): Promise<void> {
  await addForgetting(session) // as it is now
  await createOwnersFunction(session, 'evc_cosign_checkpoint(cosigned_size bigint, cosigned text)', COSIGN)
  await session.query(revoke('INSERT, UPDATE ON log_checkpoints'))
}

const guardWhatWitnessesSaw = (session: Session) =>
  createOwnersFunction(session, 'guard_witnessed()', GUARD_WITNESSED, 'trigger') // as it is now

export const CHECKPOINT_SCHEMA: Schema = {
  stage: 'checkpoints',
  migrations: [
    `
    -- Private keys, wrapped with the key-encryption key; the chain of what others may know of them is text (docs/formats.md).
    CREATE TABLE log_keys (id text PRIMARY KEY, wrapped bytea NOT NULL);
    CREATE TABLE log_key_chain (one boolean PRIMARY KEY DEFAULT true CHECK (one), chain text NOT NULL);
    CREATE TABLE log_checkpoints (
      size      bigint PRIMARY KEY,
      note      text NOT NULL,
      signed_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    `,
    `
    -- The newest one that as many witnesses cosigned as the quorum of the instance that asked them.
    CREATE TABLE log_witnessed (one boolean PRIMARY KEY DEFAULT true CHECK (one), size bigint NOT NULL, note text NOT NULL);
    `,
    addHandOvers,
    `
    -- Reading the trail again (postgres-watch.ts). While "tampered_id" is set, nobody signs.
    CREATE TABLE log_watch (
      one         boolean PRIMARY KEY DEFAULT true CHECK (one),
      bundle      bigint NOT NULL DEFAULT 0,
      rounds      bigint NOT NULL DEFAULT 0,
      tampered_id bigint,
      detail      text,
      found_at    timestamptz
    );
    INSERT INTO log_watch DEFAULT VALUES;
    `,
    guardSigned,
    guardNotes,
    guardWhatWitnessesSaw,
  ],
  grants: [
    'SELECT, INSERT ON log_keys, log_key_chain',
    'SELECT, INSERT, UPDATE ON log_witnessed',
    'SELECT, INSERT (size, note) ON log_checkpoints',
    'SELECT, UPDATE ON log_watch',
    'EXECUTE ON FUNCTION evc_append_hand_over(text)',
    'EXECUTE ON FUNCTION evc_forget_checkpoint(bigint, interval), evc_cosign_checkpoint(bigint, text)',
  ],
}
