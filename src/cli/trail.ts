/**
 * The audit trail as commands reach it: read through the query stage, whether a server runs or not, and that it was read put on
 * record (service/put-on-record.ts).
 */
import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import type { Metadata } from '../audit/audit.ts'
import * as events from '../audit/events.ts'
import { createContext } from '../context/context.ts'
import type { AuditEvent } from '../event/event.ts'
import type { EventQueries } from '../query/event-queries.ts'
import { startReader } from '../query/reader-host.ts'
import { type DataFolder, storeOf } from '../service/data-folder.ts'
import { putOnRecord, putOnSharedRecord } from '../service/put-on-record.ts'
import { UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'

export type OpenTrail = EventQueries & AsyncDisposable

/** What is read, for the ACCESS event. */
export interface Reading {
  readonly access: 'READ' | 'EXPORT' | 'VERIFY'
  readonly filter: Metadata
}

/**
 * Opens the stored events. That somebody reads them is an ACCESS event itself.
 * @throws {UsageError} when the data folder holds no events database.
 */
export async function openTrail(shell: Shell, command: Command, reading: Reading): Promise<OpenTrail> {
  const { databaseUrl } = shell.settings(command)
  if (databaseUrl !== undefined) return openSharedTrail(shell, command, reading, databaseUrl)
  const folder = shell.folder(command)
  requireEvents(folder)
  await recordAccess(shell, folder, command.name(), reading)
  const queries = startReader({ store: storeOf(folder) })
  return { ...queries, [Symbol.asyncDispose]: () => queries.close() }
}

/** @throws {UsageError} there are none yet */
export function requireEvents({ auditDatabase, path }: DataFolder): void {
  if (existsSync(auditDatabase)) return
  throw new UsageError(`${path} holds no audit events yet; --data-dir or EVC_DATA_DIR names another data folder`)
}

async function openSharedTrail(shell: Shell, command: Command, reading: Reading, url: string): Promise<OpenTrail> {
  await recordSharedAccess(shell, url, command.name(), reading)
  const queries = startReader({ store: { kind: 'postgres', url } })
  return { ...queries, [Symbol.asyncDispose]: () => queries.close() }
}

const DONE: Readonly<Record<Reading['access'], string>> = { READ: 'read', EXPORT: 'exported', VERIFY: 'verified' }

/** Where there is no security database yet, or none that can be written, the command goes on without. */
export async function recordAccess(
  shell: Shell,
  folder: DataFolder,
  commandName: string,
  reading: Reading,
): Promise<void> {
  if (!existsSync(folder.securityDatabase)) return
  await putOnRecord(folder, accessOf(shell, commandName, reading)).catch(ignore)
}

/** Likewise of a role that may only read. */
export async function recordSharedAccess(
  shell: Shell,
  url: string,
  commandName: string,
  reading: Reading,
): Promise<void> {
  await putOnSharedRecord(url, accessOf(shell, commandName, reading)).catch(ignore)
}

/** Reading is what was asked for, and what can only be read can be read too. */
function ignore(): void {}

function accessOf(shell: Shell, commandName: string, { access, filter }: Reading): AuditEvent {
  const description = `Audit trail ${DONE[access]}: command line, ${commandName}`
  return events.access(shell.user, createContext(), access, { description, metadata: filter })
}
