/** What an erasure's host and its thread say to each other. */
import type { ErrorCode, Violation } from '../errors.ts'
import type { Subject } from '../store/subject.ts'
import type { ErasurePaths } from './erase.ts'
import type { Erased, ErasureRequest } from './request.ts'

export type ErasureThreadData =
  | { readonly step: 'erase'; readonly paths: ErasurePaths; readonly request: ErasureRequest }
  | { readonly step: 'clean'; readonly paths: ErasurePaths; readonly subject: Subject | undefined }

export type ErasureMessage =
  | { readonly erased: Erased | undefined }
  | {
      readonly refusal: {
        readonly code: ErrorCode
        readonly detail: string
        readonly violations: readonly Violation[] | undefined
        readonly retryAfterSeconds: number | undefined
      }
    }
