/**
 * `ev-central/verify`: decides, offline, whether a trail is what was signed. The independent judge: shares with the service the
 * formats of src/evidence and nothing else.
 *
 *   const report = await verifyPath('/mnt/copy-of-data', { key: 'log.example+2f3a...' })
 *   if (report.exit !== 0) console.error(report.sentence)
 *
 * `verify` takes any `EvidenceSource` and needs no Node (verify.ts and what it imports).
 */

export { kindOf, type PathKind, type VerifyPathOptions, verifyPath } from './open.ts'
export { type BundleReader, checkBundles } from './range.ts'
export type * from './source.ts'
export { type Finding, type Place, sentenceOf, VERDICTS, type VerdictCode, type VerdictExit } from './verdict.ts'
export { type Report, type Trust, type VerifyOptions, verify } from './verify.ts'
