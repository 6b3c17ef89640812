/** What a thread of the verifier checks ranges with, named in a way that can be sent to it. */
import { checkBundles } from '../range.ts'
import type { BundleRange, RangeReport } from '../source.ts'
import { openReader, type ReaderSpec } from './readers.ts'

export type CheckerSpec =
  | ReaderSpec
  /** Sees what whoever holds the snapshot sees. */
  | { readonly kind: 'PostgreSQL'; readonly url: string; readonly snapshot: string }

export interface RangeChecker extends AsyncDisposable {
  /** Checkers of one source that say the same here see the same. */
  readonly fingerprint: string
  checkRange(range: BundleRange): Promise<RangeReport>
}

export async function openChecker(spec: CheckerSpec): Promise<RangeChecker> {
  if (spec.kind !== 'PostgreSQL') {
    const reader = openReader(spec)
    return {
      fingerprint: reader.fingerprint,
      checkRange: async range => checkBundles(reader, range),
      async [Symbol.asyncDispose]() {
        reader[Symbol.dispose]()
      },
    }
  }
  // Only where they are needed: each thread loads its own, and the driver takes it as long as many thousand events.
  const { openSnapshot } = await import('./postgres-snapshot.ts')
  const { createPostgresBundles, readEdge, readLeft } = await import('./postgres-bundles.ts')
  const snapshot = await openSnapshot(spec.url, spec.snapshot)
  const { checkRange } = createPostgresBundles(snapshot, await readEdge(snapshot), await readLeft(snapshot))
  return { fingerprint: snapshot.name, checkRange, [Symbol.asyncDispose]: () => snapshot[Symbol.asyncDispose]() }
}
