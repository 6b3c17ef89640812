/**
 * Compiles src/ to dist/ (JavaScript and types) for the published package, and bundles what runs in browsers: the page of evidence packs,
 * the console.
 */
import { spawnSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buildConsole } from './console.ts'
import { bundleEvidencePage } from './evidence-page.ts'

const root = join(import.meta.dirname, '..')
rmSync(join(root, 'dist'), { recursive: true, force: true })
const tsc = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
})
if (tsc.status === 0) {
  writeFileSync(join(root, 'dist', 'pack', 'evidence-page.html'), await bundleEvidencePage())
  await buildConsole(join(root, 'dist', 'console'))
}
process.exitCode = tsc.status ?? 1
