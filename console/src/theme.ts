/** Light or dark: as the system says, unless somebody chose. Kept in this browser. */
import { useSyncExternalStore } from 'react'

export type Theme = 'system' | 'light' | 'dark'
const THEMES: readonly Theme[] = ['system', 'light', 'dark']
const STORED = 'evc-theme'
const listeners = new Set<() => void>()
const system = matchMedia('(prefers-color-scheme: dark)')

export function theme(): Theme {
  const stored = localStorage.getItem(STORED)
  return THEMES.find(known => known === stored) ?? 'system'
}

export function applyTheme(): void {
  const chosen = theme()
  const isDark = chosen === 'dark' || (chosen === 'system' && system.matches)
  document.documentElement.dataset.theme = isDark ? 'dark' : 'light'
  for (const listener of listeners) listener()
}

export function nextTheme(): Theme {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length] as Theme
  localStorage.setItem(STORED, next)
  applyTheme()
  return next
}

system.addEventListener('change', applyTheme)

function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export function useTheme(): Theme {
  return useSyncExternalStore(subscribe, theme)
}

/** `light` or `dark`, as it is shown. */
export function useShownTheme(): string {
  return useSyncExternalStore(subscribe, () => document.documentElement.dataset.theme ?? 'light')
}
