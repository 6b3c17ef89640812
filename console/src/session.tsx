/** Who is signed in: asked once when the page opens, renewed while it is looked at, gone when the service says so. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { createContext, type ReactNode, useCallback, useContext, useEffect, useState } from 'react'
import { api, onSignedOut, Problem } from './api.ts'
import type { Session } from './model.ts'
import { Button, Failure, Mark } from './ui/parts.tsx'

const RENEW_MS = 5 * 60_000

interface Signed {
  readonly session: Session
  readonly mayAct: boolean
  signOut(which: 'this' | 'all'): Promise<void>
}

const Context = createContext<Signed | undefined>(undefined)

export function useSession(): Signed {
  const signed = useContext(Context)
  if (signed === undefined) throw new Error('nobody is signed in')
  return signed
}

const KEY = ['session']

export function SessionGate({ children }: { children: ReactNode }) {
  const queries = useQueryClient()
  const { data, error, isPending, refetch } = useQuery({
    queryKey: KEY,
    queryFn: async () => (await api<Session | undefined>('GET', '/session').catch(nobody)) ?? null,
    staleTime: Number.POSITIVE_INFINITY,
    retry: (failures, problem) => problem instanceof Problem && problem.status === 0 && failures < 30,
    retryDelay: 1_000,
  })
  const [hasEnded, setHasEnded] = useState(false)
  /** Nothing of what the one saw is there for the next. */
  const forget = useCallback(() => {
    queries.setQueryData(KEY, null)
    queries.removeQueries({ predicate: query => query.queryKey[0] !== KEY[0] })
  }, [queries])

  useEffect(
    () =>
      onSignedOut(() => {
        setHasEnded(true)
        forget()
      }),
    [forget],
  )
  useEffect(() => {
    if (!data) return
    const timer = setInterval(() => {
      if (document.visibilityState !== 'visible') return
      // Without an answer the next one is soon enough; an answer that there is no session is heard by onSignedOut.
      api<Session>('POST', '/session/renew')
        .then(session => queries.setQueryData(KEY, session))
        .catch(() => {})
    }, RENEW_MS)
    return () => clearInterval(timer)
  }, [data, queries])

  if (isPending) return <p className="splash">Asking who is signed in…</p>
  if (error !== null) {
    return (
      <main className="sign-in">
        <Failure error={error} retry={refetch} />
      </main>
    )
  }
  if (data === null) {
    const enter = (session: Session) => {
      setHasEnded(false)
      queries.setQueryData(KEY, session)
    }
    return <SignIn hasEnded={hasEnded} onSignedIn={enter} />
  }
  const signed: Signed = {
    session: data,
    mayAct: data.role !== 'auditor',
    async signOut(which) {
      await api('DELETE', which === 'all' ? '/sessions' : '/session')
      forget()
      setHasEnded(false)
    },
  }
  return <Context value={signed}>{children}</Context>
}

/** A cookie of a session that never was here, as after a restore: signing in replaces it. */
function nobody(problem: unknown): undefined {
  if (problem instanceof Problem && problem.status === 401) return undefined
  throw problem
}

function SignIn({ hasEnded, onSignedIn }: { hasEnded: boolean; onSignedIn: (session: Session) => void }) {
  const [key, setKey] = useState('')
  const signIn = useMutation({
    mutationFn: (admin_key: string) => api<Session>('POST', '/session', { admin_key }),
    onSuccess: session => {
      setKey('')
      onSignedIn(session)
    },
  })
  const problem = signIn.error instanceof Problem ? signIn.error : undefined
  return (
    <main className="sign-in">
      <form
        onSubmit={submitted => {
          submitted.preventDefault()
          signIn.mutate(key.trim())
        }}
      >
        <Mark />
        <h1>Sign in to EV Central</h1>
        {hasEnded && <p className="notice">Your session has ended. Sign in again to go on where you were.</p>}
        <label htmlFor="admin-key">Admin key</label>
        <input
          id="admin-key"
          type="password"
          autoComplete="current-password"
          spellCheck={false}
          maxLength={256}
          required
          // biome-ignore lint/a11y/noAutofocus: the only thing to do on this page
          autoFocus
          value={key}
          onChange={({ target }) => setKey(target.value)}
          aria-describedby={problem === undefined ? 'sign-in-help' : 'sign-in-problem'}
          aria-invalid={problem !== undefined}
        />
        {problem !== undefined && (
          <p id="sign-in-problem" className="problem" role="alert">
            {explain(problem)}
          </p>
        )}
        <Button kind="primary" type="submit" isBusy={signIn.isPending}>
          Sign in
        </Button>
        <p id="sign-in-help" className="hint">
          The key is sent once and not kept in this browser. Every sign-in, also one that fails, is on record.
        </p>
      </form>
    </main>
  )
}

function explain(problem: Problem): string {
  if (problem.status === 401) return 'That is not the key of an admin. The attempt is on record.'
  if (problem.status === 429) return `Too many attempts from here. Try again in ${problem.retryAfterSeconds ?? 1} s.`
  if (problem.status === 422) return 'A key has no such characters. Copy it again.'
  return `${problem.title}. ${problem.message}`
}
