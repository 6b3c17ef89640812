/** Keys of the keyboard that do something, and the list of them that `?` shows. One place, so that the list is true. */
import { useEffect, useRef } from 'react'

const OFF = 'evc-single-keys-off'

/** WCAG 2.1.4: whoever speaks to the computer must be able to switch single keys off. */
export function singleKeysAreOn(): boolean {
  return localStorage.getItem(OFF) === null
}

export function switchSingleKeys(isOn: boolean): void {
  if (isOn) localStorage.removeItem(OFF)
  else localStorage.setItem(OFF, '1')
}

export type Bindings = Readonly<Record<string, (event: KeyboardEvent) => void>>

/** `g e` is two keys, one after the other. Not while something is typed, or with Ctrl, Alt or Meta. */
export function useKeys(bindings: Bindings): void {
  const current = useRef(bindings)
  current.current = bindings
  useEffect(() => {
    let first = ''
    let forgotten: number | undefined
    const listen = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return
      if (isTyping(event.target) || (event.key.length === 1 && !singleKeysAreOn())) return
      const action = current.current[`${first} ${event.key}`.trim()] ?? current.current[event.key]
      clearTimeout(forgotten)
      first = action === undefined && first === '' ? event.key : ''
      forgotten = window.setTimeout(() => {
        first = ''
      }, 1_000)
      if (action === undefined) return
      event.preventDefault()
      action(event)
    }
    document.addEventListener('keydown', listen)
    return () => document.removeEventListener('keydown', listen)
  }, [])
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  return (
    target.matches('input, textarea, select, [contenteditable]') ||
    target.closest('[role=dialog], [role=menu]') !== null
  )
}

export const SHORTCUTS: readonly (readonly [
  where: string,
  keys: readonly (readonly [keys: string, does: string])[],
])[] = [
  [
    'Everywhere',
    [
      ['g o', 'Overview'],
      ['g e', 'Events'],
      ['g i', 'Incidents'],
      ['g c', 'Charge points'],
      ['g v', 'Evidence'],
      ['t', 'Theme: as the system, light, dark'],
      ['?', 'This list'],
    ],
  ],
  [
    'Events',
    [
      ['/', 'To the filters'],
      ['p', 'Pause, go on'],
      ['j, ArrowDown', 'Next event'],
      ['k, ArrowUp', 'Event before'],
      ['PageDown, PageUp', 'A page'],
      ['Home', 'To the newest'],
      ['End', 'To the oldest that is loaded'],
      ['Enter', 'Open the event'],
      ['Escape', 'Close it'],
    ],
  ],
  ['Incidents', [['Escape', 'Close the one that is open']]],
  [
    'Charge points',
    [
      ['/', 'To the search'],
      ['n', 'Register one'],
      ['Escape', 'Close the one that is open'],
    ],
  ],
]
