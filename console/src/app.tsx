/** The frame around the pages: where one can go, who is signed in, how the connection is. */
import { lazy, Suspense, useEffect, useRef, useState } from 'react'
import { Link, Redirect, Route, Switch, useLocation } from 'wouter'
import { Problem } from './api.ts'
import { ChargePointsPage } from './charge-points/page.tsx'
import { EventsPage } from './events/page.tsx'
import { Guard } from './guard.tsx'
import { IncidentsPage } from './incidents.tsx'
import { useKeys } from './keys.ts'
import { ConnectionBanner, LiveOverview, useLive } from './live.tsx'
import { OverviewPage } from './overview/page.tsx'
import { useSession } from './session.tsx'
import { number } from './text.ts'
import { nextTheme, useTheme } from './theme.ts'
import { Icon, type IconName } from './ui/icon.tsx'
import { Divider, Heading, Item, Menu } from './ui/menu.tsx'
import { Empty, IconButton, Loading, Mark } from './ui/parts.tsx'

/** With the verifier it is the largest, and the least visited. */
const EvidencePage = lazy(() => import('./evidence-page.tsx'))
const HelpDialog = lazy(() => import('./help.tsx'))

const PAGES: readonly { path: string; name: string; icon: IconName; key: string }[] = [
  { path: '/', name: 'Overview', icon: 'overview', key: 'o' },
  { path: '/events', name: 'Events', icon: 'events', key: 'e' },
  { path: '/incidents', name: 'Incidents', icon: 'incidents', key: 'i' },
  { path: '/charge-points', name: 'Charge points', icon: 'charge-points', key: 'c' },
  { path: '/evidence', name: 'Evidence', icon: 'evidence', key: 'v' },
]

export function App() {
  return (
    <LiveOverview>
      <Frame />
    </LiveOverview>
  )
}

function Frame() {
  const [location, go] = useLocation()
  const [isHelpOpen, setHelpOpen] = useState(false)
  /** Why nobody was signed out. */
  const [problem, setProblem] = useState<Error>()
  const main = useRef<HTMLElement>(null)
  const page = PAGES.find(({ path }) => path === (location === '/' ? '/' : `/${location.split('/')[1]}`))
  useKeys({
    ...Object.fromEntries(PAGES.map(({ path, key }) => [`g ${key}`, () => go(path)])),
    t: () => void nextTheme(),
    '?': () => setHelpOpen(true),
  })
  useEffect(() => {
    setProblem(undefined)
    showCurrentPage()
    document.title = page === undefined ? 'EV Central' : `${page.name} - EV Central`
  }, [page])

  return (
    <div className="frame">
      {/* biome-ignore lint/a11y/useValidAnchor: without a script it leads there as well */}
      <a className="skip" href="#main" onClick={() => main.current?.focus()}>
        To the content
      </a>
      <header className="side">
        <Link href="/" className="brand">
          <Mark />
          <span>EV Central</span>
        </Link>
        <nav aria-label="Pages">
          {PAGES.map(({ path, name, icon }) => (
            <Link key={path} href={path} aria-current={page?.path === path ? 'page' : undefined}>
              <Icon name={icon} />
              <span>{name}</span>
              {path === '/incidents' && <OpenIncidents />}
            </Link>
          ))}
        </nav>
        <Account onHelp={() => setHelpOpen(true)} onProblem={setProblem} />
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <ConnectionBanner />
        {problem !== undefined && (
          <p className="banner" role="alert">
            <strong>Still signed in.</strong> {problem instanceof Problem ? problem.title : 'Something went wrong'}: try
            it again.
          </p>
        )}
        <Guard key={location}>
          <Suspense fallback={<Loading what="the page" />}>
            <Switch>
              <Route path="/" component={OverviewPage} />
              <Route path="/events" component={EventsPage} />
              <Route path="/incidents" component={IncidentsPage} />
              <Route path="/charge-points" component={ChargePointsPage} />
              <Route path="/evidence" component={EvidencePage} />
              <Route path="/index.html">
                <Redirect to="/" />
              </Route>
              <Route>
                <Empty title="There is no such page">The menu has those that there are.</Empty>
              </Route>
            </Switch>
          </Suspense>
        </Guard>
      </main>
      {isHelpOpen && (
        <Suspense>
          <HelpDialog onClose={() => setHelpOpen(false)} />
        </Suspense>
      )}
    </div>
  )
}

/** On a narrow screen there is not room for all of them. */
function showCurrentPage(): void {
  document.querySelector('nav [aria-current=page]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
}

function OpenIncidents() {
  const { overview } = useLive()
  const open = overview?.incidents.by_state.open ?? 0
  useEffect(() => {
    if (open > 0) showCurrentPage() // what is behind it has moved
  }, [open])
  return open === 0 ? null : (
    <span className="badge" role="img" aria-label={`${open} open`}>
      {number(open)}
    </span>
  )
}

function Account({ onHelp, onProblem }: { onHelp: () => void; onProblem: (problem: Error | undefined) => void }) {
  const { session, signOut } = useSession()
  const theme = useTheme()
  const leave = (which: 'this' | 'all') => {
    onProblem(undefined)
    signOut(which).catch(onProblem)
  }
  return (
    <div className="account">
      <ConnectionState />
      <div className="tools">
        <IconButton label={`Theme: ${theme}`} icon="theme" onClick={() => nextTheme()} />
        <IconButton label="Keyboard shortcuts" icon="help" onClick={onHelp} />
        <Menu label={`Signed in as ${session.name}`} icon="person" isIconOnly>
          <Heading>
            {session.name}, {session.role}
          </Heading>
          <Item onSelect={() => leave('this')}>Sign out</Item>
          <Divider />
          <Item onSelect={() => leave('all')}>Sign out everywhere</Item>
        </Menu>
      </div>
      <div className="who">
        <strong>{session.name}</strong>
        <span>{session.role}</span>
      </div>
    </div>
  )
}

function ConnectionState() {
  const { state } = useLive()
  const [kind, text] = CONNECTION[state]
  return (
    <span className={`status ${kind}`} data-connection={state}>
      <i aria-hidden="true" />
      <span>{text}</span>
    </span>
  )
}

const CONNECTION = {
  open: ['good', 'Live'],
  waiting: ['idle', 'Connecting'],
  connecting: ['idle', 'Connecting'],
  lost: ['bad', 'Disconnected'],
  resting: ['idle', 'Resting'],
} as const
