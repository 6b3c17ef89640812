/** The keys and checkpoints of a log in PostgreSQL, as migrations (src/postgres/migrations.ts): what is files in a data folder. */
import { createOwnersFunction, type Schema } from '../postgres/migrations.ts'
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
  ],
  grants: [
    'SELECT, INSERT ON log_keys, log_key_chain',
    'SELECT, INSERT, UPDATE ON log_witnessed',
    'SELECT, INSERT, UPDATE, DELETE ON log_checkpoints',
    'EXECUTE ON FUNCTION evc_append_hand_over(text)',
  ],
}
