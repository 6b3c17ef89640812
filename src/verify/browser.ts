/**
 * The judge without Node: the engine, for whoever brings a source of their own. In browsers `ev-central/verify` is this.
 */

export { parseVerifierKey } from '../evidence/note.ts'
export { verifyEvidencePack } from './evidence-pack.ts'
export { type BundleReader, checkBundles } from './range.ts'
export type * from './source.ts'
export { type Finding, type Place, sentenceOf, VERDICTS, type VerdictCode, type VerdictExit } from './verdict.ts'
export { type Report, type Trust, type VerifyOptions, verify } from './verify.ts'
