/**
 * Evidence: the formats by which a stranger can check the trail without us. docs/formats.md is their normative page.
 *
 * Pure functions over bytes and text: no file, no clock, no network, no state but places to hash in; the same in Node and
 * in browsers (`crypto.ts`). What a parser accepts is what its formatter writes, to the letter. Nothing here may import a
 * stage of the service: a verifier must not depend on what it verifies.
 */
export * from './checkpoint.ts'
export { sha256, verifyEd25519, verifyMlDsa44 } from './crypto.ts'
export { areSameBytes, decodeText, encodeText, formatBase64, parseBase64 } from './encoding.ts'
export * from './key-chain.ts'
export * from './leaf.ts'
export * from './merkle.ts'
export * from './merkle-proof.ts'
export * from './note.ts'
export * from './pack.ts'
export * from './pack-note.ts'
export * from './pack-page.ts'
export * from './pack-zip.ts'
export * from './proof.ts'
export * from './signature.ts'
export * from './tile.ts'
export * from './tile-collector.ts'
export * from './verify-pack.ts'
export * from './witness-message.ts'
