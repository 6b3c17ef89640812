import assert from 'node:assert/strict'
import { createDecipheriv } from 'node:crypto'
import test, { after, before } from 'node:test'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { ERRORS, type ErrorCode } from '../../src/errors.ts'
import { startTestCentral, type TestCentral } from './harness.ts'

let central: TestCentral
// biome-ignore lint/suspicious/noExplicitAny: a JSON document to look into
let document: any
before(async () => {
  central = await startTestCentral()
  document = (await central.send('GET', '/openapi.json')).body
})
after(() => central.close())

const ROUTES = [
  'POST /charge-points',
  'GET /charge-points',
  'DELETE /charge-points/{cp_id}',
  'POST /charge-points/{cp_id}/credentials',
  'POST /auth/credentials',
  'POST /auth/token',
  'POST /keys/generate',
  'POST /keys/reset',
  'POST /keys/revoke',
  'GET /keys/current',
  'POST /messages',
  'POST /status/out-of-service',
  'POST /status/restore',
  'POST /status/revoke',
  'GET /security/status',
  'GET /security/status/{cp_id}',
  'GET /audit/events',
  'GET /audit/events/{id}',
  'GET /audit/failures',
  'GET /audit/summary',
  'GET /audit/incidents',
  'POST /audit/incidents/{id}/acknowledge',
  'POST /audit/incidents/{id}/notes',
  'POST /audit/incidents/{id}/resolve',
  'GET /audit/overview',
  'GET /audit/overview/stream',
  'GET /audit/stream',
  'GET /audit/export',
  'GET /checkpoint',
  'GET /checkpoint/consistency',
  'GET /tile/{path}',
  'GET /audit/events/{id}/proof',
  'POST /audit/erasures',
  'GET /audit/evidence',
  'GET /evidence',
  'GET /evidence/keys',
  'GET /evidence/verification',
  'POST /evidence/verification',
  'POST /session',
  'GET /session',
  'POST /session/renew',
  'DELETE /session',
  'DELETE /sessions',
  'GET /health',
  'GET /ready',
  'GET /metrics',
  'GET /openapi.json',
  'GET /docs',
]

interface Media {
  schema: object
  example?: unknown
  examples?: Record<string, { value: unknown }>
}
interface Operation {
  operationId: string
  summary: string
  tags: string[]
  security?: Record<string, []>[]
  requestBody?: { required: boolean; content: Record<string, Media> }
  parameters?: { in: string; name: string; required: boolean; schema: object }[]
  responses: Record<string, { description: string; content?: Record<string, Media>; headers: object }>
}

const operations = (): [string, Operation][] =>
  Object.entries(document.paths as Record<string, Record<string, Operation>>).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, Operation] => [
      `${method.toUpperCase()} ${path}`,
      operation,
    ]),
  )

const examplesOf = (media: Media): unknown[] =>
  'example' in media ? [media.example] : Object.values(media.examples ?? {}).map(example => example.value)

/** Strict: also that the schema is one, and that none of its keywords is unknown or has no effect. */
const ajv = new Ajv2020({ strict: true, allowUnionTypes: true, formats: { binary: true }, keywords: ['components'] })
const compiled = new Map<string, ValidateFunction>()

/** Of a schema of the document, whose references all lead into the one components object. */
function compile(schema: object): ValidateFunction {
  const text = JSON.stringify(schema)
  const known = compiled.get(text) ?? ajv.compile({ ...schema, components: document.components })
  compiled.set(text, known)
  return known
}

const fits = (schema: object, value: unknown): boolean => compile(schema)(value)

test('openapi: version 3.1, and every route of the API is there, no other', () => {
  assert.equal(document.openapi, '3.1.0')
  assert.ok(document.info.title && document.info.version)
  assert.deepEqual(
    operations()
      .map(([route]) => route)
      .sort(),
    ROUTES.toSorted(),
  )
})

test('openapi: every operation has an id of its own, a summary, a known tag, known security schemes', () => {
  const ids = operations().map(([, operation]) => operation.operationId)
  assert.equal(new Set(ids).size, ids.length)
  const tags = new Set(document.tags.map((tag: { name: string }) => tag.name))
  for (const [route, operation] of operations()) {
    assert.ok(operation.summary.length > 0, route)
    assert.ok(
      operation.tags.every(tag => tags.has(tag)),
      route,
    )
    for (const scheme of (operation.security ?? []).flatMap(each => Object.keys(each))) {
      assert.ok(scheme in document.components.securitySchemes, route)
    }
    for (const name of route.matchAll(/\{(\w+)\}/g)) {
      assert.ok(
        operation.parameters?.some(parameter => parameter.in === 'path' && parameter.name === name[1]),
        route,
      )
    }
  }
})

test('openapi: every request body and every response has an example, and the example fits its schema', () => {
  for (const [route, operation] of operations()) {
    const contents = [
      operation.requestBody?.content,
      ...Object.values(operation.responses).map(({ content }) => content),
    ]
    for (const [type, media] of contents.flatMap(content => Object.entries(content ?? {}))) {
      const examples = examplesOf(media)
      assert.ok(examples.length > 0, `${route} ${type}`)
      for (const example of examples)
        assert.ok(fits(media.schema, example), `${route} ${type} ${JSON.stringify(example)}`)
    }
    for (const [status, response] of Object.entries(operation.responses)) {
      assert.ok(response.description.length > 0)
      assert.ok('X-Request-ID' in (response.headers ?? {}) || /docs|openapi/.test(route), `${route} ${status}`)
    }
  }
})

test('openapi: whatever is sent or answered as JSON has a named type, and what is answered is one in all places', () => {
  const refs = new Set<string>()
  for (const [route, { requestBody, responses }] of operations()) {
    if (/docs|openapi/.test(route)) continue
    for (const content of [requestBody?.content, ...Object.values(responses).map(each => each.content)]) {
      const schema = content?.['application/json']?.schema as { $ref?: string } | undefined
      if (schema === undefined) continue
      assert.match(schema.$ref ?? '', /^#\/components\/schemas\/[A-Z]\w+$/, route)
      refs.add(schema.$ref ?? '')
    }
  }
  const { Event, EventPage, Failures } = document.components.schemas
  assert.equal(Object.keys(Event.properties).length, 14)
  for (const { properties } of [EventPage, Failures]) {
    assert.deepEqual(properties.events.items, { $ref: '#/components/schemas/Event' })
  }
  assert.ok(refs.size > 25)
})

test('openapi: what a key or a cookie that is none is answered is written, also where none is needed', async () => {
  const of = (route: string) => operations().find(([name]) => name === route)?.[1] as Operation
  const from = central.address()
  const ready = await central.send('GET', '/ready', { from, headers: { 'x-admin-key': 'k'.repeat(40) } })
  const session = await central.send('GET', '/session', { from, headers: { cookie: `evc-session=${'c'.repeat(43)}` } })
  assert.deepEqual([ready.status, session.status], [401, 401])
  for (const route of ['GET /ready', 'GET /session']) assert.ok('401' in of(route).responses, route)
})

test('openapi: the schema of every parameter is one', () => {
  for (const [, { parameters = [] }] of operations()) for (const { schema } of parameters) compile(schema)
})

test('openapi: errors are problem documents with the status of the table, and each kind of route has its own', () => {
  const codesOf = (operation: Operation) =>
    Object.entries(operation.responses).flatMap(([status, response]) => {
      const problems = Object.entries(response.content?.['application/problem+json']?.examples ?? {})
      for (const [code, { value }] of problems) {
        assert.equal(ERRORS[code as ErrorCode].status, Number(status))
        assert.equal((value as { code: string }).code, code)
      }
      return problems.map(([code]) => code)
    })
  for (const [route, operation] of operations()) {
    if (/docs|openapi/.test(route)) continue
    const codes = codesOf(operation)
    assert.ok(codes.includes('INTERNAL_ERROR'), route)
    const schemes = (operation.security ?? []).flatMap(each => Object.keys(each))
    const takesPeople =
      schemes.includes('adminKey') || schemes.includes('session') || /(?:POST|GET) \/session$|ready$/.test(route)
    assert.equal(codes.includes('UNAUTHORIZED'), takesPeople, route)
    assert.equal(codes.includes('SESSION_ENDED'), schemes.includes('session') || route === 'GET /ready', route)
    if (schemes.includes('adminKey')) assert.ok(schemes.includes('session'), route)
    assert.equal(codes.includes('UNSUPPORTED_MEDIA_TYPE'), !route.startsWith('GET '), route)
  }
})

test('openapi: the examples hang together: the message opens with the key that is shown for its charge point', () => {
  const operation = (route: string) => operations().find(([name]) => name === route)?.[1] as Operation
  const of = (content: Record<string, Media> | undefined) =>
    examplesOf(content?.['application/json'] as Media)[0] as Record<string, string>
  const key = of(operation('GET /keys/current').responses[200]?.content)
  const { payload } = of(operation('POST /messages').requestBody?.content)
  const bytes = Buffer.from(payload as string, 'base64')
  const decipher = createDecipheriv('aes-256-gcm', Buffer.from(key.key as string, 'base64'), bytes.subarray(0, 12))
  decipher.setAAD(Buffer.from(key.cp_id as string)).setAuthTag(bytes.subarray(-16))
  const text = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
  assert.deepEqual(JSON.parse(text.toString()), { energy_wh: 4200 })
  const shown = of(operation('POST /charge-points').responses[201]?.content).credentials
  assert.match(shown as string, /^[0-9a-f]{64}$/)
  assert.equal(of(operation('POST /auth/credentials').requestBody?.content).credentials, shown)
})

test('openapi: a body may be left out only where it may', () => {
  const optional = operations().filter(([, { requestBody }]) => requestBody?.required === false)
  assert.deepEqual(
    optional.map(([route]) => route),
    [
      'POST /charge-points/{cp_id}/credentials',
      'POST /audit/incidents/{id}/acknowledge',
      'POST /audit/incidents/{id}/resolve',
    ],
  )
})

test('openapi: what the service really answers fits what is written', async () => {
  const check = (route: string, status: number, value: unknown) => {
    const [, operation] = operations().find(([name]) => name === route) as [string, Operation]
    const media = operation.responses[status]?.content?.['application/json']
    assert.ok(media !== undefined && fits(media.schema, value), `${route} ${JSON.stringify(value)}`)
  }
  const registered = await central.send('POST', '/charge-points', { as: 'admin', body: { cp_id: 'CP-DOC' } })
  check('POST /charge-points', 201, registered.body)
  const key = await central.send('POST', '/keys/generate', { as: 'admin', body: { cp_id: 'CP-DOC' } })
  check('POST /keys/generate', 200, key.body)
  const body = { cp_id: 'CP-DOC', credentials: registered.body.credentials }
  check('POST /auth/credentials', 200, (await central.send('POST', '/auth/credentials', { body })).body)
  const reads = [
    '/charge-points',
    '/security/status',
    '/audit/events',
    '/audit/failures',
    '/audit/summary',
    '/audit/incidents',
    '/audit/overview',
    '/evidence',
    '/evidence/verification',
  ]
  for (const path of reads) check(`GET ${path}`, 200, (await central.send('GET', path, { as: 'auditor' })).body)
  check('GET /ready', 200, (await central.send('GET', '/ready')).body)
})
