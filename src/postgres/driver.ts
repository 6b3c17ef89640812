/**
 * The driver, loaded by whoever connects first: a service on SQLite has five threads that could, and does without 50 ms of processor
 * and 12 MB of memory in each.
 */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

export function loadDriver(): typeof import('pg') {
  return require('pg')
}

/** The two directions of COPY, as streams. */
export function loadCopyStreams(): typeof import('pg-copy-streams') {
  return require('pg-copy-streams')
}
