/** Small parts that every page uses. */
import { Tooltip } from '@base-ui/react/tooltip'
import { type ButtonHTMLAttributes, type ReactNode, useState } from 'react'
import { Link } from 'wouter'
import { Problem } from '../api.ts'
import { useNow } from '../clock.ts'
import type { ProofOutcome } from '../events/proof.ts'
import type { Severity } from '../model.ts'
import { ago, localTime, printable, utc, words } from '../text.ts'
import { Icon, type IconName } from './icon.tsx'

export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 16 16" aria-hidden="true">
      <rect width="16" height="16" rx="3.5" />
      <path d="M9 2.5 4.2 9h3l-.6 4.500L12 7H8.700z" />
    </svg>
  )
}

export interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  kind?: 'primary' | 'danger' | 'plain' | 'quiet'
  icon?: IconName
  isBusy?: boolean
  ref?: React.Ref<HTMLButtonElement>
}

export function Button({ kind = 'plain', icon, isBusy = false, children, ...rest }: ButtonProps) {
  return (
    <button
      type="button"
      {...rest}
      className={`button ${kind} ${rest.className ?? ''}`}
      disabled={rest.disabled || isBusy}
    >
      {icon !== undefined && <Icon name={icon} />}
      {children !== undefined && <span>{isBusy ? 'Working…' : children}</span>}
    </button>
  )
}

/** A button that shows a picture only: its label is said, and shown on hover and focus. */
export function IconButton({
  label,
  icon,
  ...rest
}: Omit<ButtonProps, 'children'> & { label: string; icon: IconName }) {
  return (
    <Hint text={label}>
      <Button kind="quiet" icon={icon} aria-label={label} {...rest} className={`icon-only ${rest.className ?? ''}`} />
    </Hint>
  )
}

/** More about what is there, on hover and on focus. The child must be able to have the focus. */
function Hint({ text, children }: { text: ReactNode; children: React.ReactElement<Record<string, unknown>> }) {
  return (
    <Tooltip.Root>
      <Tooltip.Trigger render={children} />
      <Tooltip.Portal>
        <Tooltip.Positioner sideOffset={6} className="layer">
          <Tooltip.Popup className="tooltip">{text}</Tooltip.Popup>
        </Tooltip.Positioner>
      </Tooltip.Portal>
    </Tooltip.Root>
  )
}

/** A time in UTC; the browser's own time on hover. */
export function Time({ at, part = 'all' }: { at: string; part?: 'all' | 'time' }) {
  const text = utc(at)
  return (
    <time dateTime={at} title={`${localTime(at)} here`}>
      {part === 'time' ? text.slice(11) : text}
    </time>
  )
}

export function Ago({ at }: { at: string }) {
  const now = useNow()
  return (
    <time dateTime={at} title={`${utc(at)} UTC, ${localTime(at)} here`}>
      {ago(at, now)}
    </time>
  )
}

/** Severity by colour, shape and word. */
export function SeverityMark({ severity, isShort = false }: { severity: Severity; isShort?: boolean }) {
  return (
    <span className={`severity ${severity.toLowerCase()}`}>
      <svg viewBox="0 0 12 12" aria-hidden="true">
        {SHAPES[severity]}
      </svg>
      <span className={isShort ? 'visually-hidden' : undefined}>{words(severity)}</span>
    </span>
  )
}

const SHAPES: Readonly<Record<Severity, ReactNode>> = {
  INFO: <circle cx="6" cy="6" r="3.5" fill="none" stroke="currentColor" strokeWidth="1.5" />,
  WARN: <path d="M6 1.800 11 10.500H1z" fill="none" stroke="currentColor" strokeWidth="1.500" strokeLinejoin="round" />,
  ERROR: <rect x="2" y="2" width="8" height="8" rx="1" fill="currentColor" />,
  CRITICAL: <path d="M3.800.8h4.400l3 3v4.400l-3 3H3.800l-3-3V3.800z" fill="currentColor" />,
}

/** Text of somebody else. */
export function Foreign({ text }: { text: string }) {
  return <bdi>{printable(text)}</bdi>
}

const SCROLLS_CHARACTERS = 100

/** For the element around text of any length, which scrolls then: also by keyboard. */
export function scrolling(text: string | null): { tabIndex?: 0 } {
  return text !== null && text.length > SCROLLS_CHARACTERS ? { tabIndex: 0 } : {}
}

export function Status({ status, kind }: { status: string; kind: 'good' | 'warn' | 'bad' | 'idle' }) {
  return (
    <span className={`status ${kind}`}>
      <i aria-hidden="true" />
      {words(status)}
    </span>
  )
}

export function Figure({ label, value, to, tone }: { label: string; value: ReactNode; to?: string; tone?: string }) {
  const figure = (
    <>
      <span className="value">{value}</span>
      <span className="label">{label}</span>
    </>
  )
  const className = `figure ${tone ?? ''}`
  return to === undefined ? (
    <div className={className}>{figure}</div>
  ) : (
    <Link href={to} className={className}>
      {figure}
    </Link>
  )
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <p className="what">{title}</p>
      {children !== undefined && <p>{children}</p>}
    </div>
  )
}

/** What went wrong, what to do, and by which id an operator finds it. */
export function Failure({ error, retry }: { error: unknown; retry?: () => unknown }) {
  const problem = error instanceof Problem ? error : undefined
  return (
    <div className="failure" role="alert">
      <p className="what">{problem?.title ?? 'Something went wrong in this page'}</p>
      <p>{problem?.message ?? 'Load it again. If it stays so, tell the operator of the service.'}</p>
      {problem !== undefined && problem.requestId !== '' && (
        <p className="hint">
          {problem.code}, request <code>{problem.requestId}</code>
        </p>
      )}
      {retry !== undefined && problem?.status !== 422 && <Button onClick={() => retry()}>Try again</Button>}
    </div>
  )
}

/** Of a check made in this browser. */
export function Outcome({ of: { isProven, sentence, details } }: { of: ProofOutcome }) {
  return (
    <p className={`verdict ${isProven ? 'good' : 'bad'}`}>
      <strong>{sentence}</strong>
      {details.map(detail => (
        <span key={detail}>{detail}</span>
      ))}
    </p>
  )
}

export function Loading({ what }: { what: string }) {
  return (
    <p className="loading" role="status">
      Loading {what}…
    </p>
  )
}

/** Copies, and says so for a moment. */
export function CopyButton({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [said, setSaid] = useState('')
  const copy = async () => {
    setSaid(await copyText(text))
    setTimeout(() => setSaid(''), 2_000)
  }
  return (
    <>
      <Button icon="copy" onClick={copy}>
        {said === '' ? label : said}
      </Button>
      <span className="visually-hidden" role="status">
        {said}
      </span>
    </>
  )
}

/** Where the page may not write to the clipboard (plain HTTP to another machine), the browser's older way is tried. */
export async function copyText(text: string): Promise<string> {
  try {
    await navigator.clipboard.writeText(text)
    return 'Copied'
  } catch {
    const area = document.createElement('textarea')
    area.value = text
    document.body.append(area)
    area.select()
    const isCopied = document.execCommand('copy')
    area.remove()
    return isCopied ? 'Copied' : 'Not allowed to copy'
  }
}
