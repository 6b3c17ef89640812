/** What is opened beside a list. The focus goes into it, and back to where it was when it is closed, also where it covers the list. */
import { type ReactNode, useEffect, useRef } from 'react'
import { IconButton } from './parts.tsx'

export function Detail(props: {
  label: string
  title: ReactNode
  tools?: ReactNode
  onClose: () => void
  children: ReactNode
}) {
  const heading = useRef<HTMLHeadingElement>(null)
  useEffect(() => {
    const before = document.activeElement
    heading.current?.focus()
    return () => {
      if (document.activeElement === document.body && before instanceof HTMLElement) before.focus()
    }
  }, [])
  return (
    <aside className="detail" aria-label={props.label}>
      <header>
        <h2 ref={heading} tabIndex={-1}>
          {props.title}
        </h2>
        {props.tools}
        <IconButton label="Close" icon="close" onClick={props.onClose} />
      </header>
      {props.children}
    </aside>
  )
}
