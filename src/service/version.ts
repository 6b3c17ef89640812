/** The version of the package, read from where `package.json` lies in the tree and in the published package alike. */
import { readFileSync } from 'node:fs'

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }

export const VERSION: string = manifest.version
