/** Readiness and metrics: what the parts say of themselves, for load balancers and Prometheus. Owns no state. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'
import type { AuditService } from '../audit/audit-service.ts'
import type { CheckpointStatus } from '../checkpoint/checkpoint-host.ts'
import { counted } from '../counted.ts'
import { LIMITS } from '../limits.ts'
import type { SecurityState } from '../security/security-state.ts'
import type { WitnessClientStatus } from '../witness/client.ts'
import type { DataFolder } from './data-folder.ts'
import { freeBytes } from './free-bytes.ts'
import type { ServedLog } from './log.ts'
import type { Pipeline } from './pipeline.ts'

export interface Check {
  readonly name: 'journal' | 'store' | 'index_lag' | 'disk' | 'losses' | 'security_state' | 'checkpoint' | 'witnesses'
  readonly ok: boolean
  /** For whoever may read the trail: errors name hosts, roles and paths. */
  readonly detail: string
  /** For everybody. */
  readonly openly: string
}

export interface Health {
  ready(): Promise<{ ready: boolean; checks: Check[] }>
  readonly registry: Registry
}

export function createHealth(deps: {
  pipeline: Pipeline
  audit: AuditService
  folder: DataFolder
  state: Pick<SecurityState, 'lastWriteError'>
  log: Pick<ServedLog, 'status' | 'witnesses'>
}): Health {
  const { pipeline, audit, folder, state, log } = deps
  return {
    registry: createRegistry(pipeline, audit, log),
    async ready() {
      const { journal, indexer } = pipeline.status()
      const free = await freeBytes(folder.path)
      const { undeclaredLosses } = audit.status()
      const writeError = state.lastWriteError()
      const signed = log.status()
      const witnessed = log.witnesses()
      const signedOpenly =
        signed.phase === 'following' ? counted(signed.size, 'event is signed', 'events are signed') : signed.phase
      const checks: Check[] = [
        check('journal', journal.phase === 'open', {
          openly: journal.lastError === null ? journal.phase : `${journal.phase}: ${journal.lastError}`,
        }),
        check('store', indexer.lastError === null, {
          openly: indexer.lastError === null ? indexer.phase : 'rows cannot be written now',
          detail: indexer.lastError,
        }),
        check('index_lag', indexer.lagRecords <= LIMITS.lagRecordsReadyMax, {
          openly: counted(indexer.lagRecords, 'record waits for the indexer', 'records wait for the indexer'),
        }),
        check('disk', free >= LIMITS.diskFreeBytesMin, { openly: `${Math.floor(free / 1_048_576)} MiB free` }),
        check('losses', undeclaredLosses === 0, {
          openly: `${counted(undeclaredLosses, 'event')} lost and not declared yet`,
        }),
        check('security_state', writeError === null, {
          openly: writeError === null ? 'written' : 'cannot be written now',
          detail: writeError,
        }),
        check('checkpoint', isSigned(signed), {
          openly: signedOpenly,
          detail: signed.lastError,
        }),
        check('witnesses', witnessed.isSatisfied || witnessed.waitingMs <= LIMITS.unsignedReadyMsMax, {
          openly: witnessesOpenly(witnessed),
          detail: witnessDetail(witnessed),
        }),
      ]
      return { ready: checks.every(check => check.ok), checks }
    },
  }
}

function check(
  name: Check['name'],
  ok: boolean,
  { openly, detail }: { readonly openly: string; readonly detail?: string | null },
): Check {
  return { name, ok, detail: detail ?? openly, openly }
}

/** A key that cannot be used is said at once, as whoever has just started it is still there; what may pass gets its time. */
function isSigned({ phase, isLasting, unsignedMs }: CheckpointStatus): boolean {
  return phase === 'following' && !isLasting && unsignedMs <= LIMITS.unsignedReadyMsMax
}

function witnessesOpenly({ witnesses, cosignedSize }: WitnessClientStatus): string {
  return witnesses.length === 0
    ? 'none is set up'
    : `${counted(cosignedSize, 'event is cosigned', 'events are cosigned')}, ${counted(witnesses.length, 'witness', 'witnesses')}`
}

function witnessDetail(status: WitnessClientStatus): string {
  const failing = status.witnesses.filter(({ failures }) => failures > 0)
  const says = witnessesOpenly(status)
  return failing.length === 0 ? says : `${says}; failing: ${failing.map(({ name }) => name).join(', ')}`
}

function createRegistry(
  pipeline: Pipeline,
  audit: AuditService,
  log: Pick<ServedLog, 'status' | 'witnesses'>,
): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read())
      },
    })
  const counter = (name: string, help: string, read: () => number) =>
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset()
        this.inc(read())
      },
    })
  const journal = () => pipeline.status().journal
  const indexer = () => pipeline.status().indexer

  counter('evc_audit_recorded_total', 'Audit events handed to the journal.', () => audit.status().recorded)
  counter(
    'evc_audit_lost_total',
    'Audit events that could not be recorded; each is declared in the trail.',
    () => audit.status().lost,
  )
  gauge(
    'evc_detector_subjects',
    'Addresses and charge points with recent failures.',
    () => audit.status().detectorSubjects,
  )
  gauge('evc_journal_durable_sequence', 'Last journal record known to be on disk.', () => journal().durableSequence)
  gauge('evc_journal_queued_bytes', 'Bytes of journal records not on disk yet.', () => journal().queuedBytes)
  gauge('evc_journal_open', '1 while the journal can be written, 0 while it is stalled.', () =>
    journal().phase === 'open' ? 1 : 0,
  )
  counter('evc_journal_late_total', 'Acknowledgements that took longer than EVC_ACK_TIMEOUT_MS.', () => journal().late)
  counter('evc_journal_refused_total', 'Records refused because the queue was full.', () => journal().refused)
  counter('evc_journal_write_errors_total', 'Failed writes.', () => journal().writeErrors)
  counter('evc_journal_sync_errors_total', 'Failed fsyncs.', () => journal().syncErrors)
  gauge('evc_index_lag_records', 'Durable journal records that are not rows yet.', () => indexer().lagRecords)
  gauge('evc_index_last_event_id', 'Id of the newest row.', () => pipeline.lastEventId())
  gauge('evc_store_available', '1 while the event store takes rows.', () => (indexer().lastError === null ? 1 : 0))
  gauge('evc_log_signed_size', 'Events under the newest signed checkpoint.', () => log.status().size)
  gauge(
    'evc_log_unsigned_seconds',
    'How long the oldest event has waited that no signed checkpoint covers.',
    () => log.status().unsignedMs / 1000,
  )
  gauge('evc_log_signing', '1 while checkpoints are signed, 0 while that is refused.', () =>
    log.status().phase === 'following' ? 1 : 0,
  )
  gauge(
    'evc_log_self_check_stalled_seconds',
    'How long reading the trail again has not gone on; 0 where EVC_SELF_CHECK_PERCENT is 0.',
    () => log.status().watchStalledMs / 1000,
  )
  gauge(
    'evc_log_cosigned_size',
    'Events under the newest checkpoint that as many witnesses cosigned as EVC_WITNESS_QUORUM asks for.',
    () => log.witnesses().cosignedSize,
  )
  gauge(
    'evc_log_uncosigned_seconds',
    'How long the newest checkpoints have waited for their witnesses.',
    () => log.witnesses().waitingMs / 1000,
  )
  return registry
}
