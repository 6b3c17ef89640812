/** A table of what the page holds whole. A click on a heading sorts it; a third one brings back the order of the service. */
import {
  type ColumnDef,
  createColumnHelper,
  createSortedRowModel,
  metaHelper,
  rowSortingFeature,
  sortFn_alphanumeric,
  sortFn_text,
  tableFeatures,
  useTable,
} from '@tanstack/react-table'
import { Icon } from './icon.tsx'

const features = tableFeatures({
  rowSortingFeature,
  sortedRowModel: createSortedRowModel(),
  sortFns: { alphanumeric: sortFn_alphanumeric, text: sortFn_text },
  columnMeta: metaHelper<{ className?: string }>(),
})

export type Column<T extends object> = ColumnDef<typeof features, T>

/** Columns are made once, outside of what is drawn. */
export function columnsOf<T extends object>() {
  return createColumnHelper<typeof features, T>()
}

export function Table<T extends object>(props: {
  label: string
  columns: readonly Column<T>[]
  rows: T[]
  rowId: (row: T) => string
  selected: string | undefined
  /** Only when all rows are here: the first of many, sorted, would look like all of them. */
  isSortable: boolean
}) {
  const table = useTable({
    features,
    columns: props.columns,
    data: props.rows,
    getRowId: props.rowId,
    enableSorting: props.isSortable,
  })
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keyboard
    <section className="scroll" tabIndex={0} aria-label={props.label}>
      <table className="table">
        <thead>
          {table.getHeaderGroups().map(group => (
            <tr key={group.id}>
              {group.headers.map(header => {
                const { column } = header
                const order = column.getIsSorted()
                return (
                  <th
                    key={header.id}
                    scope="col"
                    className={column.columnDef.meta?.className}
                    aria-sort={order === false ? undefined : order === 'asc' ? 'ascending' : 'descending'}
                  >
                    {column.getCanSort() ? (
                      <button type="button" className="sort" onClick={column.getToggleSortingHandler()}>
                        <table.FlexRender header={header} />
                        {order !== false && <Icon name={order === 'asc' ? 'up' : 'down'} />}
                      </button>
                    ) : (
                      <table.FlexRender header={header} />
                    )}
                  </th>
                )
              })}
            </tr>
          ))}
        </thead>
        <tbody>
          {table.getRowModel().rows.map(row => (
            <tr key={row.id} className={row.id === props.selected ? 'selected' : ''}>
              {row.getAllCells().map(cell => (
                <td key={cell.id} className={cell.column.columnDef.meta?.className}>
                  <table.FlexRender cell={cell} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  )
}
