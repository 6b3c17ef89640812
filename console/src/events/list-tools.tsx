/** What can be done with the list that the filters make: saved, exported, copied as a question; and which columns it has. */
import { useState } from 'react'
import { ActionDialog, Field } from '../ui/dialog.tsx'
import { Choices, Divider, Heading, Item, LinkItem, Menu } from '../ui/menu.tsx'
import { copyText } from '../ui/parts.tsx'
import { type ColumnId, columnName, OPTIONAL } from './columns.tsx'
import type { Filter } from './feed.ts'
import {
  asCommand,
  asCurl,
  asSql,
  exportAddress,
  FILTERS,
  type FilterChange,
  forgetFilter,
  savedFilters,
  saveFilter,
} from './filter.ts'

export function ColumnsMenu(props: { chosen: readonly ColumnId[]; onChange: (chosen: ColumnId[]) => void }) {
  return (
    <Menu label="Columns" icon="columns">
      <Choices options={OPTIONAL} chosen={props.chosen} onChange={props.onChange} show={columnName} />
    </Menu>
  )
}

export function ListTools({ filter, change }: { filter: Filter; change: FilterChange }) {
  const [isSaving, setSaving] = useState(false)
  const [said, setSaid] = useState('')
  const [, setForgotten] = useState(0)
  const copy = async (text: string) => {
    setSaid(await copyText(text))
    setTimeout(() => setSaid(''), 2_000)
  }
  const apply = (saved: Filter) => change({ ...Object.fromEntries(FILTERS.map(name => [name, ''])), ...saved })
  return (
    <>
      <Menu label="Saved" icon="save">
        <Item onSelect={() => setSaving(true)}>Save these filters…</Item>
        <Divider />
        {savedFilters().length === 0 && <Heading>None saved in this browser</Heading>}
        {savedFilters().map(({ name, filter: saved }) => (
          <Item key={name} onSelect={() => apply(saved)}>
            {name}
          </Item>
        ))}
        {savedFilters().map(({ name }) => (
          <Item
            key={`forget ${name}`}
            isDangerous
            onSelect={() => {
              forgetFilter(name)
              setForgotten(n => n + 1)
            }}
          >
            Forget “{name}”
          </Item>
        ))}
      </Menu>
      <Menu label="Export" icon="download">
        <LinkItem href={exportAddress(filter, 'csv')} download>
          CSV
        </LinkItem>
        <LinkItem href={exportAddress(filter, 'ndjson')} download>
          NDJSON
        </LinkItem>
      </Menu>
      <Menu label={said === '' ? 'Copy as' : said} icon="copy">
        <Item onSelect={() => void copy(asCurl(filter))}>curl</Item>
        <Item onSelect={() => void copy(asCommand(filter))}>Command line</Item>
        <Item onSelect={() => void copy(asSql(filter))}>SQL</Item>
      </Menu>
      {isSaving && (
        <SaveDialog
          onSave={name => {
            saveFilter(name, filter)
            setSaving(false)
          }}
          onClose={() => setSaving(false)}
        />
      )}
    </>
  )
}

function SaveDialog({ onSave, onClose }: { onSave: (name: string) => void; onClose: () => void }) {
  const [name, setName] = useState('')
  return (
    <ActionDialog
      title="Save these filters"
      action="Save"
      run={async () => name.trim()}
      onDone={onSave}
      onClose={onClose}
    >
      <Field label="Name" value={name} onChange={setName} charactersMax={60} isRequired hint="Kept in this browser." />
    </ActionDialog>
  )
}
