/** A witness in a temporary folder, over real HTTP on 127.0.0.1. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { pino } from 'pino'
import { parseSignatureLines, parseVerifierKey, type VerifierKey } from '../../../src/evidence/note.ts'
import { createVerifier } from '../../../src/evidence/signature.ts'
import { serveWitness } from '../../../src/witness/server.ts'
import { openWitness, type Witness } from '../../../src/witness/witness.ts'
import type { WitnessedLog } from '../../harness/witnessed-log.ts'

export interface ServedWitness {
  readonly witness: Witness
  readonly url: string
  /** What it wrote to its log, by line. */
  readonly output: Record<string, unknown>[]
  post(path: string, body: string | Uint8Array<ArrayBuffer>, headers?: Record<string, string>): Promise<Answered>
  get(path: string): Promise<Answered>
  stop(): Promise<void>
}

export interface Answered {
  readonly status: number
  readonly type: string | null
  readonly body: string
}

export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'evc-witness-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'witness')
}

export async function serve(
  t: TestContext,
  folder: string,
  logs: readonly Pick<WitnessedLog, 'verifierKey'>[],
  options: { name?: string; clock?: () => number } = {},
): Promise<ServedWitness> {
  const output: Record<string, unknown>[] = []
  const logger = pino({}, { write: (line: string) => void output.push(JSON.parse(line)) })
  const keys = logs.map(log => parseVerifierKey(log.verifierKey) as VerifierKey)
  const witness = openWitness({ folder, logs: keys, logger, ...options })
  const server = await serveWitness(witness, '127.0.0.1', 0)
  let isStopped = false
  const stop = async () => {
    if (isStopped) return
    isStopped = true
    await server[Symbol.asyncDispose]()
    witness[Symbol.dispose]()
  }
  t.after(stop)
  const ask = async (path: string, init?: RequestInit) => {
    const response = await fetch(`${server.url}${path}`, init)
    return { status: response.status, type: response.headers.get('content-type'), body: await response.text() }
  }
  return {
    witness,
    url: server.url,
    output,
    post: (path, body, headers) => ask(path, { method: 'POST', body, ...(headers === undefined ? {} : { headers }) }),
    get: path => ask(path),
    stop,
  }
}

/** Whether the body is one right cosignature of this key on the checkpoint; then its time. */
export function cosignedAt(body: string, checkpoint: string, key: VerifierKey): number | undefined {
  const [signature, ...others] = parseSignatureLines(body) ?? []
  const text = checkpoint.slice(0, checkpoint.indexOf('\n\n') + 1)
  if (signature === undefined || others.length > 0 || signature.keyId !== key.id) return undefined
  return createVerifier(key).verify(text, signature.bytes)?.time
}
