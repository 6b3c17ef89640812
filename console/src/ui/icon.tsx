/** Line icons on a grid of 16, drawn for this page. Always beside a word, or with a label on what they stand in. */

const PATHS = {
  overview: 'M2 9.500h3l2-6 3 9 2-5.500 1 2.500h1',
  events: 'M2.500 4h11M2.500 8h11M2.500 12h7',
  incidents: 'M8 2.500 14 13.500H2zM8 6.500v3.500M8 11.700v.1',
  'charge-points':
    'M3.500 13.500v-10a1 1 0 0 1 1-1h4a1 1 0 0 1 1 1v10M2.500 13.500h8M9.500 7.500h1.500a1 1 0 0 1 1 1v2a1 1 0 0 0 2 0v-5l-2-2M6.800 5 5.500 7.500h2L6.500 10',
  evidence: 'M8 2 3 4v4c0 3 2 5 5 6 3-1 5-3 5-6V4zM5.800 8l1.600 1.600 3-3.200',
  copy: 'M6 6h7v7H6zM3.500 10V3.500H10',
  close: 'M4 4l8 8M12 4l-8 8',
  pause: 'M5.500 3.500v9M10.500 3.500v9',
  play: 'M5 3.500v9l7-4.500z',
  more: 'M3.500 8h.600M7.700 8h.600M11.900 8h.600',
  down: 'M4 6.500l4 4 4-4',
  up: 'M4 9.500l4-4 4 4',
  columns: 'M2.500 3.500h11v9h-11zM6.200 3.500v9M9.800 3.500v9',
  check: 'M3.500 8.500l3 3 6-7',
  help: 'M6 6a2 2 0 1 1 2.800 1.800c-.6.3-.8.7-.8 1.400M8 11.700v.1M8 1.800a6.200 6.200 0 1 0 0 12.400A6.200 6.200 0 0 0 8 1.800',
  theme: 'M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12',
  person: 'M8 8a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5M3 13.500c.5-2.500 2.500-3.500 5-3.500s4.500 1 5 3.500',
  download: 'M8 2.500v7.500M5 7l3 3 3-3M3 13h10',
  save: 'M4 2.500h8v11l-4-3-4 3z',
  plus: 'M8 3v10M3 8h10',
  left: 'M10 3.500 5.500 8l4.500 4.500',
  search: 'M7 2.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9M10.500 10.500l3 3',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  )
}
