/**
 * A real process (scripted-process.ts) of which one system call fails, or is the last: strace injects the error or the
 * signal. Then the folder is checked as it is, opened as a start of the service does, and checked once more.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createIndexer } from '../../src/indexer/indexer.ts'
import { formatSegmentName } from '../../src/journal/segment-folder.ts'
import { openJournal } from '../../src/journal/segment-journal.ts'
import { openJournalReader } from '../../src/journal/segment-reader.ts'
import { checkAll } from '../../src/service/check-all.ts'
import { type DataFolder, dataFolder } from '../../src/service/data-folder.ts'
import { createSqliteEventStore } from '../../src/store/sqlite-event-store.ts'
import { auditRows } from '../harness/rows.ts'

export const CALLS = ['pwrite64', 'fdatasync', 'fsync', 'openat', 'rename', 'unlink', 'ftruncate'] as const
export const EFFECTS = ['error=EIO', 'error=ENOSPC', 'signal=SIGKILL'] as const
export type Call = (typeof CALLS)[number]
export type Effect = (typeof EFFECTS)[number]

export interface SystemCallFault {
  readonly call: Call
  /** The n-th of it in any thread, from 1. */
  readonly number: number
  readonly effect: Effect
}

const SEGMENTS_MAX = 12
const EXIT_CODES = [0, 3, 4]

/** Undefined when it works; else why not. */
export function whyNoStrace(): string | undefined {
  const { error, status } = spawnSync('strace', ['-qq', '-e', 'trace=none', process.execPath, '-e', '0'])
  if (error !== undefined) return 'strace is not installed'
  return status === 0 ? undefined : 'strace may not trace here'
}

/** How often each call is made by the thread that makes most of them. */
export async function countCalls(): Promise<Map<Call, number>> {
  return inFolder(async folder => {
    const { trace, code } = await runTraced(folder, undefined)
    assert.equal(code, 0)
    const counts = new Map<string, number>()
    for (const line of trace.split('\n')) {
      const found = /^(\d+) +(\w+)\(/.exec(line)
      if (found !== null) counts.set(`${found[2]} ${found[1]}`, (counts.get(`${found[2]} ${found[1]}`) ?? 0) + 1)
    }
    const most = (call: Call) =>
      Math.max(0, ...[...counts].filter(([key]) => key.startsWith(`${call} `)).map(([, count]) => count))
    return new Map(CALLS.map(call => [call, most(call)]))
  })
}

/** @throws when something was lost, doubled or left wrong. Returns whether the fault came about. */
export async function runWithSystemCallFault(fault: SystemCallFault): Promise<boolean> {
  const { call, number, effect } = fault
  try {
    return await inFolder(async folder => {
      const { trace, code, answered } = await runTraced(folder, fault)
      const isKilled = code === null
      assert.ok(isKilled ? effect === 'signal=SIGKILL' : EXIT_CODES.includes(code), `it ended with ${code}`)
      assert.deepEqual(checkAll({ folder, answered }).problems, [], 'as it was left')
      await startAfterwards(folder)
      assert.deepEqual(checkAll({ folder, answered }).problems, [], 'after a start')
      const events = auditRows(folder.path).map(({ description }) => description)
      assert.deepEqual(
        events,
        events.map((_, n) => `event ${n}`),
      )
      return isKilled || trace.includes('(INJECTED)')
    })
  } catch (cause) {
    const replay = `npm run torture -- system-calls --call ${call} --number ${number} --effect ${effect}`
    throw new Error(`${call} (${number}), ${effect}: ${(cause as Error).message}\nreplay: ${replay}`, { cause })
  }
}

async function inFolder<T>(work: (folder: DataFolder) => Promise<T>): Promise<T> {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'evc-calls-'))) // strace compares real paths
  try {
    return await work(dataFolder(join(path, 'data')))
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
}

async function runTraced(folder: DataFolder, fault: SystemCallFault | undefined) {
  const output = join(folder.path, '..', 'trace')
  const inject = fault === undefined ? [] : ['-e', `inject=${fault.call}:${fault.effect}:when=${fault.number}`]
  const only = pathsOf(folder).flatMap(path => ['-P', path])
  const script = join(import.meta.dirname, 'scripted-process.ts')
  const child = spawn(
    'strace',
    [
      '-f',
      '-qq',
      '-o',
      output,
      ...only,
      '-e',
      `trace=${CALLS.join()}`,
      ...inject,
      process.execPath,
      script,
      folder.path,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env.PATH, UV_THREADPOOL_SIZE: '1' } },
  )
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    printed += text
  })
  const code = await new Promise<number | null>(resolve => child.on('close', resolve))
  const answered = printed.split('\n').slice(0, -1) // the part behind the last line break was not said
  return { trace: readFileSync(output, 'utf8'), code, answered }
}

/** So that loading the program is left alone. */
function pathsOf({ path, journalDirectory, auditDatabase }: DataFolder): string[] {
  const segments = Array.from({ length: SEGMENTS_MAX }, (_, n) => join(journalDirectory, formatSegmentName(n + 1)))
  return [
    path,
    journalDirectory,
    ...segments.flatMap(segment => [segment, `${segment}.tmp`]),
    ...['reserve-1', 'reserve-2'].map(name => join(journalDirectory, name)),
    join(auditDatabase, '..'),
    ...['', '-wal', '-shm'].map(suffix => auditDatabase + suffix),
  ]
}

async function startAfterwards(folder: DataFolder): Promise<void> {
  const journal = await openJournal({ directory: folder.journalDirectory, ackTimeoutMs: 10_000 })
  const store = createSqliteEventStore({ path: folder.auditDatabase })
  const indexer = createIndexer({
    journalId: journal.id,
    openReader: after => openJournalReader({ directory: folder.journalDirectory, after }),
    store,
  })
  while ((await indexer.step(journal.status().durableSequence)) > 0);
  const { phase, lastError, indexedSequence } = indexer.progress()
  assert.deepEqual([phase, lastError, indexedSequence], ['following', null, journal.status().durableSequence])
  indexer.stop()
  await store.close()
  await journal.close()
}
