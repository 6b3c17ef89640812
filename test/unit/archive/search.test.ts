/** What finds and checks the files that left: the search over them, their verification, and what a manifest is. */
import assert from 'node:assert/strict'
import { copyFileSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { formatHeader, formatManifest, parseManifest } from '../../../src/archive/format.ts'
import { searchArchives } from '../../../src/archive/search.ts'
import { readRetention } from '../../../src/archive/sqlite-trail.ts'
import { verifyArchives } from '../../../src/archive/verify.ts'
import type { StoredEvent } from '../../../src/event/event.ts'
import type { EventFilter } from '../../../src/query/event-queries.ts'
import { listArchives } from '../../../src/store/retention.ts'
import { SEGMENT } from '../../harness/old-trail.ts'
import { createRandom, IPS, naiveWalk, REASONS, timeAt, WHO } from '../query/event-fixture.ts'
import { namesOf, oldTrail, searchedIn } from './old-trail.ts'

test('search: random filters, orders, cursors and page lengths over archives answer as the naive walk does', async t => {
  const { rows, run, directory } = await oldTrail(t, SEGMENT * 3 + 1)
  await run()
  const archived = rows.slice(0, SEGMENT * 3)
  const random = createRandom(7)
  const pick = <T>(values: readonly T[]) => values[Math.floor(random() * values.length)] as T
  const maybe = <T>(value: () => T) => (random() < 0.3 ? value() : undefined)
  using search = searchArchives(directory, [])
  for (let round = 0; round < 60; round++) {
    const given = {
      who: maybe(() => pick(WHO)),
      ip: maybe(() => pick(IPS)),
      request_id: random() < 0.1 ? `request-${Math.floor(random() * 1_000)}` : undefined,
      action: maybe(() => ['AUTH_FAIL', 'INCIDENT'] as const),
      severity: maybe(() => ['CRITICAL', 'WARN'] as const),
      reason_code: maybe(() => [pick(REASONS)]),
      start_time: maybe(() => timeAt(Math.floor(random() * 4_000))),
      end_time: maybe(() => timeAt(3_000 + Math.floor(random() * 4_000))),
    }
    const filter: EventFilter = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
    const order = pick(['asc', 'desc'] as const)
    const limit = pick([1, 50, 1_000])
    let after = maybe(() => Math.floor(random() * archived.length))
    const expected = naiveWalk(archived, filter, order, after)
    const found: StoredEvent[] = []
    for (let n = 0; n < 40; n++) {
      const { events, next } = await search.page({ filter, order, limit, ...(after === undefined ? {} : { after }) })
      found.push(...events)
      if (next === null) break
      after = next
    }
    assert.deepEqual(found, expected.slice(0, found.length), `round ${round}`)
    if (limit > 1) assert.equal(found.length, Math.min(expected.length, limit * 40), `round ${round}`)
  }
})

test('search, verify: a changed, cut, exchanged or missing file is found, whoever made its manifest fit', async t => {
  const { data, run, directory, database } = await oldTrail(t, SEGMENT * 3 + 1)
  await run()
  const known = readRetention(database, listArchives)
  const whole = join(data, '..', 'whole')
  cpSync(directory, whole, { recursive: true })
  const [archive1 = '', manifest1 = '', archive2 = '', manifest2 = ''] = searchedIn(directory).sort((a, b) =>
    a.slice(0, 19) === b.slice(0, 19) ? b.localeCompare(a) : a.localeCompare(b),
  )
  const edit = (name: string, change: (bytes: Buffer) => Buffer) =>
    writeFileSync(join(directory, name), change(readFileSync(join(directory, name))))
  const flip = (at: number) => (bytes: Buffer) => {
    bytes[at] = (bytes[at] as number) ^ 1
    return bytes
  }
  const rewrite = (name: string, fields: object) =>
    edit(name, bytes =>
      Buffer.from(formatManifest({ ...(parseManifest(bytes.toString()) ?? assert.fail()), ...fields })),
    )
  const attacks: Record<string, () => void> = {
    'a flipped bit in the middle': () => edit(archive2, bytes => flip(Math.floor(bytes.length / 2))(bytes)),
    'a flipped bit in the header': () => edit(archive2, flip(15)),
    'a flipped bit that gunzip does not look at': () => edit(archive2, flip(5)),
    'a cut file': () => edit(archive2, bytes => bytes.subarray(0, -1)),
    'a longer file': () => edit(archive2, bytes => Buffer.concat([bytes, Buffer.alloc(1)])),
    'a missing file': () => rmSync(join(directory, archive2)),
    'the last archive missing, with its manifest': () => {
      for (const name of namesOf(directory).slice(-3)) rmSync(join(directory, name))
    },
    'a missing manifest': () => rmSync(join(directory, manifest2)),
    'a manifest of another spelling': () => edit(manifest2, bytes => Buffer.from(`${bytes} `)),
    'a manifest that says other times': () => rewrite(manifest2, { first_time: '2020-01-01T00:00:00.000Z' }),
    'a manifest that says another number': () => rewrite(manifest2, { number: 9 }),
    'a first manifest that says another time of leaving': () =>
      rewrite(manifest1, { archived_at: '2020-01-01T00:00:00.000Z' }),
    'two archives exchanged': () => {
      edit(archive1, () => readFileSync(join(whole, archive2)))
      edit(archive2, () => readFileSync(join(whole, archive1)))
    },
  }
  for (const [what, attack] of Object.entries(attacks)) {
    rmSync(directory, { recursive: true })
    cpSync(whole, directory, { recursive: true })
    attack()
    const { problems } = await verifyArchives(directory, known)
    assert.notDeepEqual(problems, [], what)
    const search = async () => {
      using archives = searchArchives(directory, known)
      for (let after: number | undefined; ; ) {
        const request = { filter: {}, order: 'asc', limit: 1_000, ...(after === undefined ? {} : { after }) } as const
        const { next } = await archives.page(request)
        if (next === null) return
        after = next
      }
    }
    await assert.rejects(search(), { name: 'Refusal', code: 'ARCHIVE_INVALID' }, what)
  }
})

test('verify: salts that were changed or are missing are named', async t => {
  const { run, directory, database } = await oldTrail(t, SEGMENT * 2 + 1)
  await run()
  const known = readRetention(database, listArchives)
  const salts = join(directory, namesOf(directory).find(name => name.endsWith('.salts')) ?? assert.fail())
  const bytes = readFileSync(salts)
  assert.equal(bytes.length, SEGMENT * 16)
  bytes[100] = (bytes[100] as number) ^ 1
  writeFileSync(salts, bytes)
  assert.match((await verifyArchives(directory, known)).problems.join(), /\.salts/)
  rmSync(salts)
  assert.match((await verifyArchives(directory, known)).problems.join(), /\.salts/)
})

test('search: who forges an archive and all digests in the folder is caught by what the database says', async t => {
  const { run, directory, database } = await oldTrail(t, SEGMENT + 1)
  await run()
  const [archive = '', manifest = ''] = searchedIn(directory).sort((a, b) => b.localeCompare(a))
  const other = await oldTrail(t, SEGMENT + 1)
  const db = new DatabaseSync(other.database)
  db.exec("UPDATE audit_events_1 SET who = 'nobody' WHERE id = 9")
  db.close()
  await other.run()
  for (const name of [archive, manifest]) copyFileSync(join(other.directory, name), join(directory, name))
  searchArchives(directory, [])[Symbol.dispose]()
  const known = readRetention(database, listArchives)
  const forged = { name: 'Refusal', code: 'ARCHIVE_INVALID', message: /is not the archive 1 that left/ }
  assert.throws(() => searchArchives(directory, known), forged)
  assert.match((await verifyArchives(directory, known)).problems.join(), /is not the archive 1 that left/)
})

test('verify: without a database, a changed manifest is shown by the one behind it', async t => {
  const { run, directory } = await oldTrail(t, SEGMENT * 2 + 1)
  await run()
  assert.deepEqual((await verifyArchives(directory, [])).problems, [])
  const name = join(directory, namesOf(directory).find(file => file.endsWith('2048.manifest.json')) ?? '')
  const manifest = parseManifest(readFileSync(name, 'utf8')) ?? assert.fail()
  writeFileSync(name, formatManifest({ ...manifest, archived_at: '2020-01-01T00:00:00.000Z' }))
  assert.match((await verifyArchives(directory, [])).problems.join(), /does not follow on events-.*2048\.ndjson\.gz/)
})

test('manifest: only what the formatter prints is one, and nothing that cannot be', async t => {
  const { run, directory } = await oldTrail(t, SEGMENT + 1)
  await run()
  const name = namesOf(directory).find(file => file.endsWith('.manifest.json')) ?? ''
  const text = readFileSync(join(directory, name), 'utf8')
  const manifest = parseManifest(text) ?? assert.fail()
  assert.equal(formatManifest(manifest), text)
  assert.match(formatHeader(manifest), /^\{"format":"ev-central-archive".*\}\n$/)
  const bad = [
    { file: '../../etc/passwd' },
    { count: 3 },
    { sha256: manifest.sha256.toUpperCase() },
    { previous: '0' },
    { bytes: -1 },
    { number: 2 },
    { blocks: [] },
    { blocks: [...manifest.blocks].reverse() },
    { header_bytes: manifest.header_bytes + 1 },
    { first_time: 'yesterday' },
  ]
  for (const fields of bad) {
    assert.equal(parseManifest(formatManifest({ ...manifest, ...fields })), undefined, JSON.stringify(fields))
  }
  for (const other of ['', '{}', '[]', text.slice(1), text.replace('"number": 1', '"number": 1.0')]) {
    assert.equal(parseManifest(other), undefined)
  }
})
