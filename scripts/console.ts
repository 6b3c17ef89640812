/**
 * Builds the console (console/) to files that the HTTP door serves: hashed names, compressed ahead. In a checkout they lie in
 * a folder named by the hash of all they are made from, so that a build happens once for each change of the sources.
 *
 *   node scripts/console.ts     builds if needed, and says so; `npm start` runs it before the service
 *
 * Two builds at the same time are both right: each works in a folder of its own, and only the rename makes it the one that is
 * used. Killed before that: a folder with a random name that nobody reads.
 */
import { createHash } from 'node:crypto'
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const root = join(import.meta.dirname, '..')
const cache = join(root, 'node_modules', '.cache')
const COMPRESSED = /\.(?:html|js|css|svg)$/

/** The folder of the built console; built now if it is not there. */
export async function builtConsole(onBuild: () => void = () => {}): Promise<string> {
  const folder = join(cache, `console-${sourceHash()}`)
  if (existsSync(folder)) return folder
  onBuild()
  await mkdir(cache, { recursive: true })
  const own = await mkdtemp(`${folder}-`)
  await buildConsole(own)
  await rename(own, folder).catch(async (error: NodeJS.ErrnoException) => {
    await rm(own, { recursive: true, force: true })
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
  })
  return folder
}

export async function buildConsole(outDir: string): Promise<void> {
  const { build } = await import('vite') // only when there is something to build
  await build({ root: join(root, 'console'), logLevel: 'error', build: { outDir, emptyOutDir: true } })
  for (const name of globSync('**/*', { cwd: outDir })) {
    if (!COMPRESSED.test(name)) continue
    const bytes = await readFile(join(outDir, name))
    const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY }
    writeFileSync(join(outDir, `${name}.br`), brotliCompressSync(bytes, { params }))
    await writeFile(join(outDir, `${name}.gz`), gzipSync(bytes, { level: 9 }))
  }
}

function sourceHash(): string {
  const hash = createHash('sha256')
  const files = globSync(['console/**/*', 'src/{event,evidence}/**/*.ts', 'src/limits.ts', 'package-lock.json'], {
    cwd: root,
  })
  for (const file of files.sort()) {
    if (!/\.\w+$/.test(file)) continue
    hash.update(`${file}\n`).update(readFileSync(join(root, file)))
  }
  return hash.digest('hex').slice(0, 16)
}

if (import.meta.main) {
  const started = performance.now()
  let isBuilt = false
  const say = () => {
    isBuilt = true
    process.stderr.write('building the console, once ... ')
  }
  try {
    await builtConsole(say)
    if (isBuilt) process.stderr.write(`${((performance.now() - started) / 1000).toFixed(1)} s\n`)
  } catch (error) {
    // The service is worth more than its console: it starts without.
    process.stderr.write(`\nthe console could not be built, /console will say so: ${(error as Error).message}\n`)
  }
}
