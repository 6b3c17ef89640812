/**
 * The console: files that were built and compressed beforehand, held in memory. The page is told apart from its parts by the
 * cache: it is asked for each time, they have names that change with their content.
 *
 * Promise: no script or style but ours runs, nothing of another origin is loaded, and nobody may frame it. Built with the
 * package, or in a checkout at first use (scripts/console.ts).
 */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Refusal } from '../errors.ts'
import type { App } from './deps.ts'

const BUILT = fileURLToPath(new URL('../console/', import.meta.url))
/** Named at run time: the published package has no scripts. */
const BUILDER = new URL('../../scripts/console.ts', import.meta.url)

const CONTENT_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

const HEADERS = {
  'content-security-policy': CONTENT_POLICY,
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
}

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
}
/** In the order of preference: file ending and the name HTTP has for it. */
const ENCODINGS = [
  { ending: 'br', name: 'br' },
  { ending: 'gz', name: 'gzip' },
] as const

type Files = ReadonlyMap<string, Buffer>

export function registerConsole(app: App): void {
  let loading: Promise<Files> | undefined

  /** A failure is not kept: the next request tries again. */
  function load(): Promise<Files> {
    loading ??= readFiles().catch(cause => {
      loading = undefined
      throw new Refusal('NOT_FOUND', 'The console is not built here: `npm run build` builds it.', { cause })
    })
    return loading
  }

  async function page(request: FastifyRequest, reply: FastifyReply): Promise<Buffer> {
    return send(await load(), 'index.html', request, reply)
  }

  const schema = { schema: { hide: true } }
  app.get('/console', schema, page)
  app.get('/console/*', schema, async (request, reply) => {
    const name = (request.params as { '*': string })['*']
    if (!name.startsWith('assets/')) return page(request, reply)
    const files = await load()
    if (!files.has(name)) throw new Refusal('NOT_FOUND')
    reply.header('cache-control', 'public, max-age=31536000, immutable')
    return send(files, name, request, reply)
  })
}

function send(files: Files, name: string, request: FastifyRequest, reply: FastifyReply): Buffer {
  reply.headers(HEADERS).header('vary', 'accept-encoding')
  reply.type(TYPES[name.slice(name.lastIndexOf('.') + 1)] ?? 'application/octet-stream')
  const accepted = request.headers['accept-encoding']
  for (const { ending, name: encoding } of ENCODINGS) {
    const compressed = files.get(`${name}.${ending}`)
    if (compressed === undefined || !isAccepted(accepted, encoding)) continue
    reply.header('content-encoding', encoding)
    return compressed
  }
  return files.get(name) as Buffer
}

/** RFC 9110, 12.5.3: listed, and not with a weight of 0. */
function isAccepted(header: string | string[] | undefined, encoding: string): boolean {
  return String(header ?? '')
    .split(',')
    .some(item => {
      const [coding = '', weight = ''] = item.split(';')
      return coding.trim().toLowerCase() === encoding && !/^\s*q=0(?:\.0*)?\s*$/i.test(weight)
    })
}

async function readFiles(): Promise<Files> {
  const folder = existsSync(BUILT) ? BUILT : await build()
  const names = (await readdir(folder, { recursive: true, withFileTypes: true })).filter(entry => entry.isFile())
  const files = new Map<string, Buffer>()
  for (const { parentPath, name } of names) {
    const path = join(parentPath, name)
    files.set(path.slice(folder.length).replaceAll('\\', '/').replace(/^\//, ''), await readFile(path))
  }
  if (!files.has('index.html')) throw new Error(`${folder} holds no console`)
  return files
}

async function build(): Promise<string> {
  const { builtConsole } = (await import(BUILDER.href)) as { builtConsole(): Promise<string> }
  return builtConsole()
}
