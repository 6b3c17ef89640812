/** What a page throws while it is drawn stays in its place: the others can still be reached. */
import { Component, type ReactNode } from 'react'
import { Failure } from './ui/parts.tsx'

export class Guard extends Component<{ children: ReactNode }, { error: Error | undefined }> {
  override state: { error: Error | undefined } = { error: undefined }

  static getDerivedStateFromError(error: Error) {
    return { error }
  }

  override render() {
    const { error } = this.state
    if (error === undefined) return this.props.children
    // A part of the page that cannot be had is mostly that of an earlier version of the service.
    return <Failure error={error} retry={() => location.reload()} />
  }
}
