/**
 * An evidence pack, asked for and given to the browser when it is there. Not a link: a pack takes a while to be made, and a range may
 * have more events than one holds, of which a failed download would not say anything.
 */
import { useMutation } from '@tanstack/react-query'
import { apiFile } from './api.ts'
import { Button, Failure } from './ui/parts.tsx'

/** Longer than a browser takes to begin with it. */
const KEPT_MS = 60_000

async function download(address: string): Promise<void> {
  const { name, blob } = await apiFile(address)
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), KEPT_MS)
}

export function PackButton(props: { address: string; label: string; kind?: 'primary'; isComplete?: boolean }) {
  const pack = useMutation({ mutationFn: () => download(props.address) })
  return (
    <>
      <div className="tools">
        <Button
          kind={props.kind ?? 'plain'}
          icon="download"
          disabled={props.isComplete === false}
          isBusy={pack.isPending}
          onClick={() => pack.mutate()}
        >
          {props.label}
        </Button>
      </div>
      {pack.error !== null && <Failure error={pack.error} />}
    </>
  )
}
