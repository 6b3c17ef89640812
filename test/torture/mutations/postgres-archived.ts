/** What an intruder does to a log in PostgreSQL whose oldest two partitions, 1,024 events each, have left as archives. */
import type { PostgresMutation, PostgresPlace } from '../postgres-mutations.ts'

const anyArchive = ({ random }: PostgresPlace) => random.between(1, 2)
const firstIdOf = (archive: number) => (archive - 1) * 1_024 + 1
/** Of bundles that have left. */
const anyBundle = ({ random }: PostgresPlace) => random.between(0, 7)

const flipDigest =
  "overlay(manifest_sha256 PLACING translate(left(manifest_sha256, 1), '0123456789abcdef', '123456789abcdef0') FROM 1)"

export const ARCHIVED: Record<string, PostgresMutation> = {
  async 'left: its entry gone'(place) {
    const archive = anyArchive(place)
    await place.run(`DELETE FROM event_archives WHERE number = ${archive}`)
    return { verdicts: ['DELETED', 'EDITED'], id: firstIdOf(archive) }
  },
  async 'left: its entry of other ids'(place) {
    await place.run('UPDATE event_archives SET last_id = last_id - 256 WHERE number = 2')
    return { verdicts: ['DELETED', 'EDITED'], id: [1_025, 1_793] }
  },
  async 'left: the digest of its manifest another'(place) {
    const archive = anyArchive(place)
    await place.run(`UPDATE event_archives SET manifest_sha256 = ${flipDigest} WHERE number = ${archive}`)
    return { verdicts: ['DELETED'], id: firstIdOf(archive) }
  },
  async 'left: one more partition, and nobody says so'({ run }) {
    const [row] = await run('SELECT first_id::float8 AS first, last_id::float8 AS last FROM event_partitions LIMIT 1')
    const [first, last] = [Number(row?.first), Number(row?.last)]
    await run(`DROP TABLE audit_events_3; DELETE FROM event_partitions WHERE number = 3`)
    await run(`DELETE FROM log_salts WHERE last_id <= ${last}; UPDATE log_salts SET first_id = ${last} + 1,
      salts = substring(salts FROM ((${last} - first_id + 1) * 16 + 1)::integer) WHERE first_id <= ${last}`)
    await run(`INSERT INTO event_archives VALUES (3, ${first}, ${last}, '-', '-', '-', '-', '-', '-')`)
    return { verdicts: ['DELETED'], id: first }
  },
  async 'left: its entries edited'(place) {
    const bundle = anyBundle(place)
    const at = place.random.between(0, 50_000)
    const flipped = `set_byte(bytes, ${at}, get_byte(bytes, ${at}) # 1)`
    await place.run(`UPDATE log_tiles SET bytes = ${flipped} WHERE level = -1 AND tile = ${bundle}`)
    return { verdicts: ['EDITED', 'DELETED', 'MALFORMED', 'REORDERED'], id: [bundle * 256 + 1, bundle * 256 + 256] }
  },
  async 'left: its tile gone'(place) {
    const bundle = anyBundle(place)
    await place.run(`DELETE FROM log_tiles WHERE level = 0 AND tile = ${bundle}`)
    return { verdicts: ['DELETED'], id: bundle * 256 + 1 }
  },
  async 'left: the event that tells of it edited'({ run }) {
    const [row] =
      await run(`UPDATE audit_events SET metadata_json = replace(metadata_json, '"archive":2', '"archive":3')
      WHERE metadata_json LIKE '%"archive":2%' RETURNING id::float8 AS id`)
    return { verdicts: ['EDITED'], id: Number(row?.id) }
  },
  async 'left: a row of it stored again'(place) {
    await place.run('CREATE TABLE audit_events_1 PARTITION OF audit_events FOR VALUES FROM (1) TO (1025)')
    await place.run(`INSERT INTO audit_events SELECT ${place.random.between(2, 1_024)}, date_time, who, ip, action, description,
      severity, reason_code, request_id, endpoint, http_method, status_code, metadata_json, created_at FROM audit_events LIMIT 1`)
    return { verdicts: ['DELETED', 'EDITED', 'HIDDEN'], id: [1, 1_024] }
  },
  async 'left: salts of it stored again'({ run }) {
    await run(`INSERT INTO log_salts VALUES (1, 256, decode(repeat('ab', 4096), 'hex'), '')`)
    return { verdicts: ['EDITED'], id: [1, 2_049] }
  },
}
