/** Dialogs: one look for all, and the one form that actions have. */
import { Dialog as Base } from '@base-ui/react/dialog'
import { useMutation } from '@tanstack/react-query'
import { type ReactNode, useRef } from 'react'
import { Button, Failure } from './parts.tsx'

const ONLY_BY_A_SLIP: readonly string[] = ['escape-key', 'outside-press']

export function Dialog(props: {
  title: string
  onClose: () => void
  children: ReactNode
  isWide?: boolean
  /** What it shows cannot be had again: only its own buttons close it. */
  isKept?: boolean
}) {
  const popup = useRef<HTMLDivElement>(null)
  return (
    <Base.Root
      open
      onOpenChange={(isOpen, { reason }) => {
        if (!isOpen && !(props.isKept && ONLY_BY_A_SLIP.includes(reason))) props.onClose()
      }}
    >
      <Base.Portal>
        <Base.Backdrop className="backdrop" />
        <Base.Popup
          ref={popup}
          className={`dialog ${props.isWide ? 'wide' : ''}`}
          // Where one begins to fill in, if there is something to; else at its text, as a second Enter must not close it.
          initialFocus={() => popup.current?.querySelector<HTMLElement>('form input, form textarea') ?? popup.current}
        >
          <header>
            <Base.Title>{props.title}</Base.Title>
            {/* Without a hint: Escape would close that first. */}
            <Base.Close render={<Button kind="quiet" icon="close" className="icon-only" aria-label="Close" />} />
          </header>
          {props.children}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  )
}

/** Fields, what they are sent to, and what went wrong with that. Closes itself when it went well. */
export function ActionDialog<T>(props: {
  title: string
  action: string
  isDangerous?: boolean
  isComplete?: boolean
  children?: ReactNode
  run: () => Promise<T>
  onDone: (result: T) => void
  onClose: () => void
}) {
  const action = useMutation({ mutationFn: props.run, onSuccess: props.onDone })
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form
        className="fields"
        onSubmit={submitted => {
          submitted.preventDefault()
          action.mutate()
        }}
      >
        {props.children}
        {action.error !== null && <Failure error={action.error} />}
        <footer>
          <Button onClick={props.onClose}>Cancel</Button>
          <Button
            kind={props.isDangerous ? 'danger' : 'primary'}
            type="submit"
            isBusy={action.isPending}
            disabled={props.isComplete === false}
          >
            {props.action}
          </Button>
        </footer>
      </form>
    </Dialog>
  )
}

export function Field(props: {
  label: string
  value: string
  onChange: (value: string) => void
  charactersMax: number
  hint?: string
  isRequired?: boolean
  isLong?: boolean
  pattern?: string
}) {
  const common = {
    value: props.value,
    maxLength: props.charactersMax,
    required: props.isRequired ?? false,
    onChange: ({ target }: { target: { value: string } }) => props.onChange(target.value),
  }
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: one of the two below is in it
    <label className="field">
      <span>
        {props.label}
        {!props.isRequired && <em> optional</em>}
      </span>
      {props.isLong ? (
        <textarea rows={3} {...common} />
      ) : (
        <input
          spellCheck={false}
          autoComplete="off"
          {...common}
          {...(props.pattern ? { pattern: props.pattern } : {})}
        />
      )}
      {props.hint !== undefined && <small>{props.hint}</small>}
    </label>
  )
}
