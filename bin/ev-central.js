#!/usr/bin/env node
// Starts the command line: the compiled one of a published package, or the sources of a checkout.
import { existsSync } from 'node:fs'
import * as module from 'node:module'
import { fileURLToPath } from 'node:url'

const [major] = process.versions.node.split('.').map(Number)
if (major < 24) {
  console.error(`ev-central needs Node.js 24 or newer; this is ${process.version}.`)
  console.error('In a checkout, `npm ci` installs a fitting one: use `npm start` or `npx ev-central`.')
  process.exit(1)
}
// Compiled code is kept on disk, where that is allowed: the next start takes half the time, and no thread of a checkout loads
// the stripper of types, which takes 20 MB in each.
const cache = fileURLToPath(new URL('../node_modules/.cache/ev-central', import.meta.url))
module.enableCompileCache?.(cache)
process.env.NODE_COMPILE_CACHE ??= cache // how threads learn of it
const source = new URL('../src/cli/main.ts', import.meta.url)
await import(existsSync(source) ? source.href : new URL('../dist/cli/main.js', import.meta.url).href)
