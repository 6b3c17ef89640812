/** A button that opens a menu. */
import { Menu as Base } from '@base-ui/react/menu'
import type { ReactNode } from 'react'
import { Icon, type IconName } from './icon.tsx'
import { Button, IconButton } from './parts.tsx'

export function Menu(props: {
  label: string
  icon?: IconName
  isIconOnly?: boolean
  isOn?: boolean
  children: ReactNode
}) {
  const trigger = props.isIconOnly ? (
    <IconButton label={props.label} icon={props.icon ?? 'more'} />
  ) : (
    <Button className={props.isOn ? 'on' : ''} {...(props.icon === undefined ? {} : { icon: props.icon })}>
      {props.label}
    </Button>
  )
  return (
    <Base.Root modal={false}>
      <Base.Trigger render={trigger} />
      <Base.Portal>
        <Base.Positioner sideOffset={4} align="start" className="layer">
          <Base.Popup className="menu">{props.children}</Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  )
}

export function Item(props: {
  children: ReactNode
  onSelect: () => void
  isDangerous?: boolean
  isDisabled?: boolean
}) {
  return (
    <Base.Item
      className={props.isDangerous ? 'danger' : ''}
      onClick={props.onSelect}
      disabled={props.isDisabled ?? false}
    >
      {props.children}
    </Base.Item>
  )
}

/** A link in the menu: to another place, or to a file. */
export function LinkItem(props: { children: ReactNode; href: string; download?: boolean }) {
  return (
    <Base.LinkItem href={props.href} {...(props.download ? { download: '' } : {})} closeOnClick>
      {props.children}
    </Base.LinkItem>
  )
}

/** Several of a list: the menu stays open. */
export function Choices<T extends string>(props: {
  options: readonly T[]
  chosen: readonly T[]
  onChange: (chosen: T[]) => void
  show: (option: T) => ReactNode
}) {
  return props.options.map(option => (
    <Base.CheckboxItem
      key={option}
      checked={props.chosen.includes(option)}
      onCheckedChange={isChosen =>
        props.onChange(props.options.filter(other => (other === option ? isChosen : props.chosen.includes(other))))
      }
    >
      <Base.CheckboxItemIndicator className="tick" keepMounted>
        <Icon name="check" />
      </Base.CheckboxItemIndicator>
      {props.show(option)}
    </Base.CheckboxItem>
  ))
}

export const Divider = () => <Base.Separator className="divider" />

export function Heading({ children }: { children: ReactNode }) {
  return <div className="menu-heading">{children}</div>
}
