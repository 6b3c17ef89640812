/** What an operator can do to a charge point. Each says to which one, and asks why. */
import { useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api } from '../api.ts'
import type { SecurityStatus } from '../model.ts'
import { ActionDialog, Dialog, Field } from '../ui/dialog.tsx'
import { Divider, Item, Menu } from '../ui/menu.tsx'
import { Button, CopyButton, Foreign } from '../ui/parts.tsx'

interface Action {
  readonly label: string
  readonly explains: string
  readonly path: (id: string) => string
  readonly isPossible: (chargePoint: SecurityStatus) => boolean
  readonly isReasonRequired?: boolean
  readonly isDangerous?: boolean
  /** What cannot be taken back at once asks for the id again. */
  readonly isConfirmed?: boolean
  readonly isSecretShown?: boolean
}

const isActive = ({ security_status }: SecurityStatus) => security_status === 'ACTIVE'
const isRevoked = ({ security_status }: SecurityStatus) => security_status === 'REVOKED'

const STATUS_ACTIONS: readonly Action[] = [
  {
    label: 'Take out of service',
    explains: 'It cannot log in until it is restored. Its key stays.',
    path: () => '/status/out-of-service',
    isPossible: cp => isActive(cp) || isRevoked(cp),
    isReasonRequired: true,
  },
  {
    label: 'Restore',
    explains: 'It may log in again.',
    path: () => '/status/restore',
    isPossible: cp => cp.security_status === 'OUT_OF_SERVICE',
  },
  {
    label: 'Revoke',
    explains:
      'Its key and every token stop working at once. Coming back takes two steps: out of service, then restore.',
    path: () => '/status/revoke',
    isPossible: cp => !isRevoked(cp),
    isReasonRequired: true,
    isDangerous: true,
    isConfirmed: true,
  },
]

const KEY_ACTIONS: readonly Action[] = [
  {
    label: 'Generate key',
    explains: 'Its first key. It fetches it by itself; nobody sees it.',
    path: () => '/keys/generate',
    isPossible: cp => isActive(cp) && !cp.has_key,
  },
  {
    label: 'Reset key',
    explains: 'A new key takes the place of the old one, which stops working at once.',
    path: () => '/keys/reset',
    isPossible: cp => !isRevoked(cp) && cp.has_key,
  },
  {
    label: 'Revoke key',
    explains: 'It has no key then, and its messages are refused.',
    path: () => '/keys/revoke',
    isPossible: cp => cp.has_key,
    isDangerous: true,
    isConfirmed: true,
  },
]

const CREDENTIAL_ACTIONS: readonly Action[] = [
  {
    label: 'Issue new credentials',
    explains: 'The old ones and every token stop working at once. The new ones are shown once.',
    path: id => `/charge-points/${encodeURIComponent(id)}/credentials`,
    isPossible: () => true,
    isDangerous: true,
    isConfirmed: true,
    isSecretShown: true,
  },
]

const GROUPS = [STATUS_ACTIONS, KEY_ACTIONS, CREDENTIAL_ACTIONS]

export function ActionMenu({ chargePoint }: { chargePoint: SecurityStatus }) {
  const [asking, setAsking] = useState<Action>()
  const [secret, setSecret] = useState<string>()
  const queries = useQueryClient()
  const groups = GROUPS.map(group => group.filter(action => action.isPossible(chargePoint))).filter(
    group => group.length > 0,
  )
  const done = (answer: { credentials?: string }) => {
    setAsking(undefined)
    setSecret(answer.credentials)
    void queries.invalidateQueries({ queryKey: ['charge-points'] })
  }
  return (
    <>
      <Menu label={`Actions for ${chargePoint.cp_id}`} icon="more" isIconOnly>
        {groups.map((group, n) => [
          n > 0 && <Divider key={`before ${group[0]?.label}`} />,
          ...group.map(action => (
            <Item key={action.label} isDangerous={action.isDangerous ?? false} onSelect={() => setAsking(action)}>
              {action.label}
            </Item>
          )),
        ])}
      </Menu>
      {asking !== undefined && (
        <ConfirmDialog chargePoint={chargePoint} action={asking} onDone={done} onClose={() => setAsking(undefined)} />
      )}
      {secret !== undefined && (
        <SecretDialog id={chargePoint.cp_id} secret={secret} onClose={() => setSecret(undefined)} />
      )}
    </>
  )
}

function ConfirmDialog(props: {
  chargePoint: SecurityStatus
  action: Action
  onDone: (answer: { credentials?: string }) => void
  onClose: () => void
}) {
  const { action } = props
  const { cp_id } = props.chargePoint
  const [reason, setReason] = useState('')
  const [typed, setTyped] = useState('')
  const run = () => {
    const why = reason.trim() === '' ? {} : { reason: reason.trim() }
    const body = action.isSecretShown ? why : { cp_id, ...why }
    return api<{ credentials?: string }>('POST', action.path(cp_id), body)
  }
  return (
    <ActionDialog
      title={`${action.label}: ${cp_id}`}
      action={action.label}
      isDangerous={action.isDangerous ?? false}
      isComplete={(!action.isConfirmed || typed === cp_id) && (!action.isReasonRequired || reason.trim() !== '')}
      run={run}
      onDone={props.onDone}
      onClose={props.onClose}
    >
      <p>{action.explains}</p>
      <Field
        label="Reason"
        value={reason}
        onChange={setReason}
        charactersMax={256}
        isRequired={action.isReasonRequired ?? false}
        hint="Goes into the audit trail."
      />
      {action.isConfirmed && (
        <Field label={`Type ${cp_id} to confirm`} value={typed} onChange={setTyped} charactersMax={48} isRequired />
      )}
    </ActionDialog>
  )
}

export function RegisterDialog({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient()
  const [id, setId] = useState('')
  const [location, setLocation] = useState('')
  const [secret, setSecret] = useState<string>()
  if (secret !== undefined) return <SecretDialog id={id} secret={secret} onClose={onClose} />
  const run = () =>
    api<{ credentials: string }>('POST', '/charge-points', {
      cp_id: id.trim(),
      ...(location.trim() === '' ? {} : { location: location.trim() }),
    })
  const done = ({ credentials }: { credentials: string }) => {
    setSecret(credentials)
    void queries.invalidateQueries({ queryKey: ['charge-points'] })
  }
  return (
    <ActionDialog title="Register a charge point" action="Register" run={run} onDone={done} onClose={onClose}>
      <Field
        label="Id"
        value={id}
        onChange={setId}
        charactersMax={48}
        isRequired
        pattern="[A-Za-z0-9*\-_=:+\|@.]{1,48}"
        hint="As the charge point calls itself: letters, digits and * - _ = : + | @ ."
      />
      <Field label="Location" value={location} onChange={setLocation} charactersMax={200} />
    </ActionDialog>
  )
}

/** Shown once: the service keeps no copy of it that anybody could read. */
function SecretDialog({ id, secret, onClose }: { id: string; secret: string; onClose: () => void }) {
  return (
    <Dialog title={`Credentials of ${id}`} onClose={onClose} isKept>
      <div className="fields">
        <p>
          Shown this once. Put them into <Foreign text={id} /> now; if they are lost, issue new ones.
        </p>
        <code className="secret">{secret}</code>
        <footer>
          <CopyButton text={secret} label="Copy the credentials" />
          <Button kind="primary" onClick={onClose}>
            I have stored them
          </Button>
        </footer>
      </div>
    </Dialog>
  )
}
