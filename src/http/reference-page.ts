/**
 * The interactive page over the description of the API, and the way to it from `/`. It works offline: everything it
 * loads is served here, which the content policy insists on.
 *
 * Swagger UI comes as the files that `@fastify/swagger-ui` carries. Not as that plugin, which adds a description of its
 * own at two more addresses and a bar with another product's logo.
 */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { App } from './deps.ts'

const CONTENT_POLICY =
  "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'; object-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"

const STYLE = 'text/css; charset=utf-8'
const SCRIPT = 'text/javascript; charset=utf-8'

/** Files of Swagger UI, by media type. */
const FILES: Readonly<Record<string, string>> = { 'swagger-ui.css': STYLE, 'swagger-ui-bundle.js': SCRIPT }

const PAGE = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>EV Central API</title>
<link rel="icon" type="image/svg+xml" href="/docs/static/icon.svg">
<link rel="stylesheet" href="/docs/static/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/static/swagger-ui-bundle.js"></script>
<script src="/docs/static/start.js"></script>
</body>
</html>
`

/** No key is kept, and the page never asks a validator elsewhere. */
const START = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#swagger-ui',
  presets: [SwaggerUIBundle.presets.apis],
  layout: 'BaseLayout',
  deepLinking: true,
  docExpansion: 'list',
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
})
`

const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">
<rect width="16" height="16" rx="3" fill="#14532d"/><path d="M9 2 4 9h3l-1 5 6-8H8z" fill="#fff"/></svg>
`

export function registerReferencePage(app: App): void {
  const serve = (path: string, type: string, content: () => string | Promise<Buffer>) =>
    app.get(path, { schema: { hide: true } }, async (_request, reply) => {
      reply.header('content-security-policy', CONTENT_POLICY).type(type)
      return content()
    })

  for (const path of ['/docs', '/docs/']) serve(path, 'text/html; charset=utf-8', () => PAGE)
  serve('/docs/static/start.js', SCRIPT, () => START)
  serve('/docs/static/icon.svg', 'image/svg+xml', () => ICON)
  for (const [name, type] of Object.entries(FILES)) {
    const file = fileURLToPath(import.meta.resolve(`@fastify/swagger-ui/static/${name}`))
    // One for all answers, also of those that come at once: each that waits for its reader holds what it sends.
    let content: Promise<Buffer> | undefined
    const load = () =>
      readFile(file).catch(error => {
        content = undefined
        throw error
      })
    serve(`/docs/static/${name}`, type, () => (content ??= load()))
  }
  app.get('/', { schema: { hide: true } }, (_request, reply) => reply.redirect('/docs', 302))
}
