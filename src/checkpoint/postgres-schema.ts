/** The keys and checkpoints of a log in PostgreSQL, as migrations (src/postgres/migrations.ts): what is files in a data folder. */
import type { Schema } from '../postgres/migrations.ts'

/** `EVCK` in ASCII: whoever signs holds this advisory lock of the database until the checkpoint is committed. */
export const SIGN_LOCK = 0x4556434b

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
  ],
  grants: [
    'SELECT, INSERT ON log_keys, log_key_chain',
    'SELECT, INSERT, UPDATE ON log_witnessed',
    'SELECT, INSERT, UPDATE, DELETE ON log_checkpoints',
    'SELECT, UPDATE ON log_watch',
  ],
}
