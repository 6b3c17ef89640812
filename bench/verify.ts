/**
 * The verifier over a signed log, from files that have just been written: every row, entry, tile, index entry and signature. Beside
 * it, what SHA-256 alone takes over the same bytes, on as many threads; the difference is reading.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createSignedLog, type SignedLog, withDatabase } from '../test/harness/signed-log.ts'
import { createEventGenerator } from './generator.ts'
import type { Size } from './size.ts'
import { type Figure, median } from './table.ts'

const SEGMENT_IDS = 131_072
const WORKERS = 2
const ROUNDS = 5
const NODE_BYTES = 65
const PACK_HEADER_BYTES = 1_024
const PIECE_BYTES = 1024 * 1024

export async function benchVerify({ verifyEvents: events }: Size): Promise<Figure[]> {
  const log = createSignedLog(undefined, SEGMENT_IDS)
  try {
    await log.append(
      events,
      createEventGenerator({
        seed: 7,
        chargePoints: 5_000,
        addresses: 20_000,
        start: Date.UTC(2026, 0, 1),
        stepMs: 100,
      }),
    )
    log.sign()
    const client = join(import.meta.dirname, 'verify-client.ts')
    const rounds = [client, log.path, log.key, String(WORKERS), String(ROUNDS)]
    const { stdout } = await promisify(execFile)(process.execPath, rounds)
    const { ms, residentBytes } = JSON.parse(stdout) as { readonly ms: number[]; readonly residentBytes: number }
    console.log(`  rounds: ${ms.map(each => Math.round(events / (each / 1_000))).join(', ')} events/s`)
    const bytes = hashedBytes(log, events)
    const bareMs = median(ms.map(() => bareSha256(bytes) / WORKERS))
    return [
      {
        name: 'verify, two workers',
        value: events / (median(ms) / 1_000),
        unit: 'events/s',
        goal: ['>=', 300_000],
      },
      {
        name: 'the same / bare SHA-256 over the same bytes',
        value: median(ms) / bareMs,
        unit: 'x',
      },
      {
        name: 'resident memory of a verifier, highest',
        value: residentBytes / 2 ** 20,
        unit: 'MB',
      },
    ]
  } finally {
    log.remove()
  }
}

/** Commitments, leaves and nodes. */
function hashedBytes({ database, root }: SignedLog, events: number): number {
  const privates = withDatabase(database, db =>
    db
      .prepare(
        `SELECT sum(16 + length(CAST(json_object('description', description, 'endpoint', endpoint, 'http_method', http_method,
          'ip', ip, 'metadata_json', metadata_json, 'request_id', request_id, 'who', who) AS BLOB))) AS bytes FROM audit_events`,
      )
      .get(),
  )
  const packs = readdirSync(root).filter(name => name.startsWith('entries-'))
  const entries = packs.reduce((sum, name) => sum + statSync(join(root, name)).size - PACK_HEADER_BYTES, 0)
  return Number(privates?.bytes) + entries - events + (events - 1) * NODE_BYTES
}

/** In one piece, as fast as it goes. @returns milliseconds */
function bareSha256(bytes: number): number {
  const piece = new Uint8Array(PIECE_BYTES)
  const started = performance.now()
  const hash = createHash('sha256')
  for (let left = bytes; left > 0; left -= PIECE_BYTES)
    hash.update(left < PIECE_BYTES ? piece.subarray(0, left) : piece)
  hash.digest()
  return performance.now() - started
}
