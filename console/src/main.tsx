/**
 * The console: what the API says, for people. It keeps no copy of anything: each page asks, or follows a stream, and the
 * session lives in a cookie that scripts cannot read.
 */
import { CSPProvider } from '@base-ui/react/csp-provider'
import { Tooltip } from '@base-ui/react/tooltip'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { Router } from 'wouter'
import { Problem } from './api.ts'
import { App } from './app.tsx'
import { SessionGate } from './session.tsx'
import './styles/tokens.css'
import './styles/base.css'
import './styles/controls.css'
import './styles/parts.css'
import './styles/layers.css'
import './styles/shell.css'
import './styles/overview.css'
import './styles/events.css'
import './styles/pages.css'
import { applyTheme } from './theme.ts'

applyTheme()
const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // What is refused stays refused; what does not answer is asked again.
      retry: (failures, error) =>
        error instanceof Problem && (error.status === 0 || error.status === 503) && failures < 5,
      retryDelay: failures => Math.min(1_000 * 2 ** failures, 10_000),
      refetchOnWindowFocus: true,
    },
  },
})

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <CSPProvider disableStyleElements>
      <QueryClientProvider client={queries}>
        <Tooltip.Provider delay={400}>
          <Router base="/console">
            <SessionGate>
              <App />
            </SessionGate>
          </Router>
        </Tooltip.Provider>
      </QueryClientProvider>
    </CSPProvider>
  </StrictMode>,
)
