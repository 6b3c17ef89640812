/**
 * `ev-central/verify`: decides, offline, whether a trail is what was signed. The independent judge: it shares with the service the
 * formats of src/evidence and nothing else, so the layouts that it reads are written here anew.
 *
 *   const report = await verifyPath('/mnt/copy-of-data', { key: 'log.example+2f3a...' })
 *   if (report.exit !== 0) console.error(report.sentence)
 *
 *   source.ts    what a verifier reads, whatever it lies in; sources/ has those for Node
 *   range.ts     bundle by bundle: do rows, entries and hashes agree
 *   verify.ts    which of them is right, by what was signed; what deviates, and how (verdict.ts)
 *
 * Owns no state and writes nothing. `verify` takes any source and needs no Node.
 */
export * from './browser.ts'
export { kindOf, type PathKind, type VerifyPathOptions, verifyPath } from './sources/verify-path.ts'
