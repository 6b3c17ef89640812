/** Evidence: whether the log is intact, who says so, and what an auditor can take home. */
import { Progress } from '@base-ui/react/progress'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { type ReactNode, useState } from 'react'
import { type KeyChain, parseKeyChain } from '../../src/evidence/key-chain.ts'
import { formatVerifierKey } from '../../src/evidence/note.ts'
import { api, apiText, query } from './api.ts'
import { checkCheckpoint, type ProofOutcome } from './events/proof.ts'
import type { EvidenceStatus, VerificationStatus } from './model.ts'
import { PackButton } from './pack-button.tsx'
import { count, duration, number, words } from './text.ts'
import { Ago, Button, CopyButton, Empty, Failure, Foreign, Loading, Outcome, Status } from './ui/parts.tsx'

const EVERY_MS = 3_000
/** Of reading the trail again: another instance takes over within seconds, and a server comes back. */
const STALLED_SECONDS = 300

export default function EvidencePage() {
  const { data, error, refetch } = useQuery({
    queryKey: ['evidence'],
    queryFn: () => api<EvidenceStatus>('GET', '/evidence'),
    refetchInterval: EVERY_MS,
  })
  return (
    <div className="page evidence">
      <h1>Evidence</h1>
      {error !== null && <Failure error={error} retry={refetch} />}
      {data === undefined && error === null && <Loading what="the log" />}
      {data !== undefined && (
        <div className="two">
          <Checkpoint evidence={data} />
          <Verify evidence={data} />
          <Witnesses evidence={data} />
          <Keys />
          <Pack />
        </div>
      )}
    </div>
  )
}

function Checkpoint({ evidence }: { evidence: EvidenceStatus }) {
  const [outcome, setOutcome] = useState<ProofOutcome>()
  const check = useMutation({ mutationFn: checkCheckpoint, onSuccess: setOutcome })
  const isWell = evidence.phase === 'following'
  return (
    <section className="card">
      <h2>Checkpoint</h2>
      <div className="figures">
        <div className="figure">
          <span className="value">{number(evidence.size)}</span>
          <span className="label">events signed</span>
        </div>
        <div className="figure">
          <span className="value">{evidence.signed_at === null ? 'earlier' : <Ago at={evidence.signed_at} />}</span>
          <span className="label">signed</span>
        </div>
      </div>
      <p>
        <Status status={isWell ? 'signing' : evidence.phase} kind={isWell ? 'good' : 'bad'} />
      </p>
      <p className="hint">
        {evidence.unsigned_seconds > 2
          ? `Events wait for a checkpoint since ${duration(evidence.unsigned_seconds)}.`
          : 'A new one follows within a second of news.'}
      </p>
      {evidence.last_error !== null && (
        <p className="problem">
          <Foreign text={evidence.last_error} />
        </p>
      )}
      <div role="status">{outcome !== undefined && <Outcome of={outcome} />}</div>
      {check.error !== null && <Failure error={check.error} />}
      <div className="tools">
        <Button icon="evidence" onClick={() => check.mutate()} isBusy={check.isPending}>
          Check the signature in this browser
        </Button>
        <a className="button plain" href="/checkpoint" download="checkpoint">
          Download
        </a>
      </div>
    </section>
  )
}

function Verify({ evidence }: { evidence: EvidenceStatus }) {
  const queries = useQueryClient()
  const { data } = useQuery({
    queryKey: ['verification'],
    queryFn: () => api<VerificationStatus>('GET', '/evidence/verification'),
    refetchInterval: ({ state }) => (state.data?.phase === 'running' ? 300 : EVERY_MS * 5),
  })
  const start = useMutation({
    mutationFn: () => api<VerificationStatus>('POST', '/evidence/verification'),
    onSuccess: verification => queries.setQueryData(['verification'], verification),
  })
  const { self_check, size } = evidence
  return (
    <section className="card">
      <h2>Verification</h2>
      {self_check !== null && (
        <>
          <p>
            In the background every row is read again and compared with the log:{' '}
            {self_check.rounds > 0 ? `${count(self_check.rounds, 'round')} went well` : 'the first round is on its way'}
            .
          </p>
          {self_check.stalled_seconds > STALLED_SECONDS && (
            <p className="problem">It has not gone on for {duration(self_check.stalled_seconds)}: see the log.</p>
          )}
          <Bar label="This round" value={Math.min(self_check.through, size)} max={Math.max(size, 1)} />
        </>
      )}
      {data?.phase === 'running' && <Bar label="Verifying now" value={data.done} max={Math.max(data.total, 1)} />}
      <div role="status">{data !== undefined && <Verdict verification={data} />}</div>
      {start.error !== null && <Failure error={start.error} />}
      <div className="tools">
        <Button kind="primary" onClick={() => start.mutate()} isBusy={start.isPending || data?.phase === 'running'}>
          Verify now
        </Button>
      </div>
      <p className="hint">
        This is the service judging itself. Whoever believes nothing here runs <code>ev-central verify</code> on a copy,
        or opens an evidence pack.
      </p>
    </section>
  )
}

function Verdict({ verification }: { verification: VerificationStatus }) {
  const { phase, verdict, sentence, ended_at, started_by } = verification
  if (phase === 'never' || phase === 'running') return null
  const isWell = verdict === 'PRISTINE'
  return (
    <p className={`verdict ${isWell ? 'good' : 'bad'}`}>
      <strong>{verdict === null ? 'No verdict' : words(verdict)}.</strong>{' '}
      <span>
        <Foreign text={sentence ?? ''} />
      </span>
      <span>
        Asked by <Foreign text={started_by ?? ''} />, {ended_at !== null && <Ago at={ended_at} />}
      </span>
    </p>
  )
}

function Bar({ label, value, max }: { label: string; value: number; max: number }) {
  return (
    <Progress.Root className="progress" value={value} max={max}>
      <Progress.Label>{label}</Progress.Label>
      <Progress.Value>{() => `${number(value)} of ${number(max)}`}</Progress.Value>
      <Progress.Track>
        <Progress.Indicator />
      </Progress.Track>
    </Progress.Root>
  )
}

function Witnesses({ evidence }: { evidence: EvidenceStatus }) {
  const { witnesses, cosigned_size } = evidence
  return (
    <section className="card">
      <h2>Witnesses</h2>
      {witnesses.length === 0 ? (
        <Empty title="No witness is set up">
          A witness elsewhere cosigns checkpoints, so that nobody here can rewrite the past: EVC_WITNESSES.
        </Empty>
      ) : (
        <>
          <p>{number(cosigned_size)} events are cosigned by enough of them.</p>
          <ul className="lines">
            {witnesses.map(witness => (
              <li key={witness.url}>
                <Status
                  status={witness.failures === 0 ? 'cosigning' : (witness.last_fault ?? 'failing')}
                  kind={witness.failures === 0 ? 'good' : 'bad'}
                />
                <span className="grow">
                  <Foreign text={witness.name} />
                </span>
                <span className="muted">
                  {number(witness.cosigned_size)}
                  {witness.cosigned_at !== null && <Age at={witness.cosigned_at} />}
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  )
}

function Age({ at }: { at: string }): ReactNode {
  return (
    <>
      , <Ago at={at} />
    </>
  )
}

function Keys() {
  const { data, error, refetch } = useQuery({ queryKey: ['keys'], queryFn: () => apiText('/evidence/keys') })
  const chain = data === undefined ? undefined : parseKeyChain(data)
  return (
    <section className="card">
      <h2>Keys of the log</h2>
      {error !== null && <Failure error={error} retry={refetch} />}
      {data !== undefined && chain === undefined && <p className="problem">They do not form a chain.</p>}
      {chain !== undefined && <KeyList chain={chain} />}
    </section>
  )
}

function KeyList({ chain }: { chain: KeyChain }) {
  const keys = [
    { ed25519: chain.first, mlDsa44: undefined, from: 0 },
    ...chain.handOvers.map(({ to, size }) => ({ ...to, from: size })),
  ]
  return (
    <>
      <ol className="keys">
        {keys.map(({ ed25519: key, mlDsa44, from }, n) => (
          <li key={formatVerifierKey(key)}>
            <code>{formatVerifierKey(key)}</code>
            <span className="muted">
              {n === 0 ? 'first key' : `signs from event ${number(from + 1)}`}
              {mlDsa44 !== undefined && `, with an ML-DSA-44 key of id ${mlDsa44.id}`}
              {n === keys.length - 1 && ', signs now'}
            </span>
          </li>
        ))}
      </ol>
      <CopyButton text={formatVerifierKey(chain.first)} label="Copy the first key" />
    </>
  )
}

const DAY_MS = 86_400_000

function Pack() {
  const [from, setFrom] = useState(() => new Date(Date.now() - DAY_MS).toISOString().slice(0, 16))
  const [to, setTo] = useState(() => new Date(Date.now() + 60_000).toISOString().slice(0, 16))
  const [cp, setCp] = useState('')
  const isComplete = from !== '' && to !== '' && from < to
  const address = `/audit/evidence${query({ start_time: `${from}:00Z`, end_time: `${to}:00Z`, cp_id: cp.trim() })}`
  return (
    <section className="card">
      <h2>Evidence pack</h2>
      <p>
        Events of a time, what proves them, and a page that checks them without a network. For an auditor, as one file.
      </p>
      <div className="fields in-a-row">
        <label className="field">
          <span>From (UTC)</span>
          <input type="datetime-local" value={from} onChange={({ target }) => setFrom(target.value)} />
        </label>
        <label className="field">
          <span>To (UTC)</span>
          <input type="datetime-local" value={to} onChange={({ target }) => setTo(target.value)} />
        </label>
        <label className="field">
          <span>
            Charge point<em> optional</em>
          </span>
          <input value={cp} maxLength={48} spellCheck={false} onChange={({ target }) => setCp(target.value)} />
        </label>
      </div>
      <PackButton address={address} label="Download the pack" kind="primary" isComplete={isComplete} />
    </section>
  )
}
