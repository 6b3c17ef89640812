/**
 * The description of the API, made from the schemas of the routes.
 *
 * Errors are not listed in the routes one by one: what every route of a kind can answer follows from its kind (takes a
 * body, wants a key), the rest is the `errors` of its config. Each becomes an example of the one problem schema.
 */
import swagger from '@fastify/swagger'
import type { RouteOptions } from 'fastify'
import { ERRORS, type ErrorCode } from '../errors.ts'
import type { App, HttpDeps } from './deps.ts'
import { PROBLEM_TYPE, problem } from './problem.ts'
import { registerReferencePage } from './reference-page.ts'

const EXAMPLE_REQUEST_ID = '019b1f6e-7a55-7cc0-8d0f-6f2f6f0c1a11'

const DESCRIPTION = `Security API of a charging network: charge points log in, get keys, get revoked; operators look
after them; auditors read the trail of all of it.

- Errors are \`application/problem+json\` (RFC 9457) with \`code\` from a closed table; \`type\` is
  \`urn:ev-central:error:<code>\`. 422 has \`errors: [{field, rule}]\`, never a submitted value.
- \`X-Request-ID\` is taken if it matches \`^[A-Za-z0-9._:-]{1,128}$\` and does not look like a token or a key, else made; every
  answer has it.
- Times are UTC, ISO-8601 with milliseconds and \`Z\`. Fields are \`snake_case\`. Unknown fields and parameters are refused;
  only \`/health\`, \`/ready\`, \`/metrics\` and the pages about the API let unknown parameters pass, as probes may add some.
- \`/\` leads to \`/docs\`. At any address also: 400 \`BAD_REQUEST\`, 404 \`NOT_FOUND\`, 405 \`METHOD_NOT_ALLOWED\`, 408 \`REQUEST_TIMEOUT\`,
  414 \`URI_TOO_LONG\`, 431 \`HEADERS_TOO_LARGE\`.`

/** To be called before any route is added. */
export async function registerOpenApi(app: App, deps: HttpDeps): Promise<void> {
  const errorsOf = new Map<string, ErrorCode[]>()
  const bodyOptional = new Set<string>()
  app.addHook('onRoute', route => {
    const id = route.schema?.operationId
    if (id === undefined || route.method === 'HEAD') return // Fastify's own, beside each GET
    errorsOf.set(id, errorCodes(route))
    if (route.config?.isBodyOptional === true) bodyOptional.add(id)
  })
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'EV Central',
        version: deps.version,
        description: DESCRIPTION,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } as { name: string },
      },
      servers: [{ url: '/' }],
      tags: TAGS,
      components: {
        securitySchemes: {
          adminKey: { type: 'apiKey', in: 'header', name: 'X-Admin-Key', description: 'The key of an admin.' },
          session: {
            type: 'apiKey',
            in: 'cookie',
            name: 'evc-session',
            description:
              'The session of a person at a browser, from POST /session; `__Host-evc-session` with TLS. Changes need the header `X-EVC-Console: 1` as well.',
          },
          chargePointToken: { type: 'http', scheme: 'bearer', description: 'The token of a charge point.' },
        },
        schemas: { Problem: PROBLEM_SCHEMA as object },
      },
    },
    transformObject: document => {
      const { openapiObject } = document as { openapiObject: OpenApiDocument }
      nameWildcards(openapiObject.paths)
      for (const path of Object.values(openapiObject.paths)) {
        for (const operation of Object.values(path)) {
          nameSchemas(operation, openapiObject.components.schemas)
          complete(operation, errorsOf.get(operation.operationId) ?? [])
          if (operation.requestBody !== undefined && bodyOptional.has(operation.operationId))
            operation.requestBody.required = false
        }
      }
      Object.assign(openapiObject.paths, OWN_PATHS)
      return openapiObject as never
    },
  })
  registerReferencePage(app)
  let text: Buffer | undefined // one for all answers
  app.get('/openapi.json', { schema: { hide: true } }, (_request, reply) => {
    text ??= Buffer.from(JSON.stringify(app.swagger()))
    return reply.type('application/json; charset=utf-8').send(text)
  })
}

function errorCodes(route: RouteOptions): ErrorCode[] {
  const { schema } = route
  const codes = new Set<ErrorCode>(route.config?.errors ?? [])
  const schemes = (schema?.security ?? []).flatMap(scheme => Object.keys(scheme))
  if (schemes.includes('adminKey')) {
    for (const code of ['UNAUTHORIZED', 'SESSION_ENDED', 'FORBIDDEN', 'TOO_MANY_ATTEMPTS'] as const) codes.add(code)
  }
  if (schemes.includes('session')) {
    for (const code of ['UNAUTHORIZED', 'SESSION_ENDED', 'TOO_MANY_ATTEMPTS'] as const) codes.add(code)
  }
  if (schemes.includes('chargePointToken')) {
    for (const code of ['AUTHENTICATION_FAILED', 'CP_REVOKED', 'CP_OUT_OF_SERVICE', 'TOO_MANY_ATTEMPTS'] as const) {
      codes.add(code)
    }
  }
  if (schemes.length > 0) codes.add('STATE_UNAVAILABLE') // who asks is looked up, and changes are written before they are answered
  if (route.method !== 'GET' && schemes.includes('adminKey')) codes.add('AUDIT_UNAVAILABLE')
  // Also of a body that no route asked for.
  if (route.method !== 'GET') {
    for (const code of ['PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE'] as const) codes.add(code)
  }
  if (schema?.body !== undefined || schema?.querystring !== undefined || schema?.params !== undefined) {
    codes.add('VALIDATION_FAILED')
  }
  return [...codes, 'INTERNAL_ERROR', 'OVERLOADED']
}

interface OpenApiDocument {
  readonly paths: Record<string, Record<string, Operation>>
  readonly components: { readonly schemas: Record<string, object> }
}

interface Operation {
  readonly operationId: string
  security?: Record<string, []>[]
  readonly parameters?: { name: string }[]
  readonly requestBody?: { required: boolean; readonly content: Record<string, Media> }
  readonly responses: Record<string, ResponseObject>
}

interface ResponseObject {
  description: string
  headers?: Record<string, unknown>
  content?: Record<string, Media>
}

interface Media {
  schema: object
  readonly examples?: object
}

/** What this file serves itself. */
const OWN_PATHS = {
  '/openapi.json': {
    get: {
      operationId: 'openapi',
      tags: ['Service'],
      summary: 'This description',
      security: [],
      responses: {
        200: {
          description: 'OpenAPI 3.1.',
          content: { 'application/json': { schema: { type: 'object' }, example: { openapi: '3.1.0' } } },
        },
      },
    },
  },
  '/docs': {
    get: {
      operationId: 'docs',
      tags: ['Service'],
      summary: 'The interactive reference; works offline',
      security: [],
      responses: {
        200: {
          description: 'A page.',
          content: { 'text/html': { schema: { type: 'string' }, example: '<!DOCTYPE html>' } },
        },
      },
    },
  },
}

const REQUEST_ID_HEADER = { description: 'Id of this request.', schema: { type: 'string' } }
const RETRY_AFTER_HEADER = { description: 'Seconds to wait.', schema: { type: 'integer' } }

/** Adds what every answer carries, and the errors, one response per status with an example per code. */
function complete(operation: Operation, codes: readonly ErrorCode[]): void {
  // Wherever a key is taken, the session that was opened with one is too.
  if (operation.security?.some(scheme => 'adminKey' in scheme)) operation.security = [{ adminKey: [] }, { session: [] }]
  operation.security ??= [] // said, as generators ask
  const byStatus = Map.groupBy(codes, code => ERRORS[code].status)
  for (const [status, group] of [...byStatus].sort(([a], [b]) => a - b)) {
    operation.responses[String(status)] = {
      description: group.map(code => `${code}: ${ERRORS[code].title}.`).join(' '),
      ...(status === 429 || status === 503 ? { headers: { 'Retry-After': RETRY_AFTER_HEADER } } : {}),
      content: {
        [PROBLEM_TYPE]: {
          schema: { $ref: '#/components/schemas/Problem' },
          examples: Object.fromEntries(group.map(code => [code, { value: errorExample(code, operation) }])),
        },
      },
    }
  }
  for (const response of Object.values(operation.responses)) {
    response.headers = { 'X-Request-ID': REQUEST_ID_HEADER, ...response.headers }
  }
}

/** The rest of an address has no name in the router; in a template every parameter has one that can be written in a program. */
function nameWildcards(paths: OpenApiDocument['paths']): void {
  for (const [template, path] of Object.entries(paths)) {
    if (!template.includes('{*}')) continue
    for (const parameter of Object.values(path).flatMap(({ parameters = [] }) => parameters)) {
      if (parameter.name === '*') parameter.name = 'path'
    }
    delete paths[template]
    paths[template.replace('{*}', '{path}')] = path
  }
}

/** Schemas with a title become components of that name, so that a generated client has types to speak of. */
function nameSchemas({ requestBody, responses }: Operation, named: Record<string, object>): void {
  const contents = [requestBody?.content, ...Object.values(responses).map(({ content }) => content)]
  for (const media of contents.flatMap(content => Object.values(content ?? {}))) {
    media.schema = withReferences(media.schema, named) as object
  }
}

function withReferences(schema: unknown, named: Record<string, object>): unknown {
  if (Array.isArray(schema)) return schema.map(each => withReferences(each, named))
  if (typeof schema !== 'object' || schema === null) return schema
  const copy = Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, withReferences(value, named)]))
  const { title, description: _, examples: __, ...rest } = copy
  if (typeof title !== 'string') return copy
  named[title] ??= rest
  if (JSON.stringify(named[title]) !== JSON.stringify(rest)) throw new Error(`two schemas have the name ${title}`)
  return { $ref: `#/components/schemas/${title}` }
}

function errorExample(code: ErrorCode, operation: Operation): Record<string, unknown> {
  const { status } = ERRORS[code]
  const isLogin = operation.operationId.startsWith('authenticate') && code !== 'OVERLOADED' // given before any route
  return {
    ...problem(code, EXAMPLE_REQUEST_ID, {
      errors: status === 422 ? [{ field: 'cp_id', rule: 'pattern' }] : undefined,
    }),
    ...(isLogin
      ? { success: false, cp_id: status === 413 || status === 415 ? null : 'CP-0042', is_authorized: false }
      : {}),
    ...(code === 'NOT_READY'
      ? { ready: false, checks: [{ name: 'journal', ok: false, detail: 'stalled: ENOSPC' }] }
      : {}),
  }
}

const PROBLEM_SCHEMA = {
  type: 'object' as const,
  description: 'RFC 9457.',
  required: ['type', 'title', 'status', 'detail', 'code', 'request_id'],
  properties: {
    type: { type: 'string' as const, description: '`urn:ev-central:error:<code>`' },
    title: { type: 'string' as const },
    status: { type: 'integer' as const },
    detail: { type: 'string' as const },
    code: { type: 'string' as const, enum: Object.keys(ERRORS) },
    request_id: { type: 'string' as const },
    errors: {
      type: 'array' as const,
      description: 'With 422: which field broke which rule.',
      items: {
        type: 'object' as const,
        required: ['field', 'rule'],
        properties: { field: { type: 'string' as const }, rule: { type: 'string' as const } },
      },
    },
    success: { type: 'boolean' as const, description: 'With a refused login: false.' },
    cp_id: {
      type: ['string', 'null'] as const,
      description: 'With a refused login: the id that was claimed; null if none could be read.',
    },
    is_authorized: { type: 'boolean' as const, description: 'With a refused login: false.' },
    ready: { type: 'boolean' as const, description: 'With NOT_READY: false.' },
    checks: {
      type: 'array' as const,
      description: 'With NOT_READY: as in the answer 200.',
      items: { type: 'object' as const },
    },
  },
}

const TAGS = [
  { name: 'Authentication', description: 'Charge points log in.' },
  { name: 'Charge points', description: 'Operators register and look after charge points.' },
  { name: 'Keys', description: 'One symmetric key per charge point.' },
  { name: 'Messages', description: 'Encrypted messages of charge points.' },
  { name: 'Status', description: 'ACTIVE <-> OUT_OF_SERVICE, either -> REVOKED, REVOKED -> OUT_OF_SERVICE.' },
  { name: 'Audit', description: 'The trail. Every read of it is an ACCESS event itself.' },
  { name: 'Sessions', description: 'People at a browser sign in with their admin key.' },
  { name: 'Evidence', description: 'The trail as a transparency log (C2SP tlog-tiles): checkpoints, tiles, proofs.' },
  { name: 'Service', description: 'The service about itself.' },
]
