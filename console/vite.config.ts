/** `npm run console` serves the sources with a proxy to a running service; scripts/console.ts builds them. */
import { resolve } from 'node:path'
import { defineConfig, type Plugin } from 'vite'

/** As package.json tells the bundlers of others: browsers have no node:crypto. */
const browserCrypto: Plugin = {
  name: 'browser-crypto',
  enforce: 'pre',
  resolveId: id =>
    id.endsWith('/crypto.ts') ? resolve(import.meta.dirname, '../src/evidence/crypto-browser.ts') : null,
}

const SERVICE = process.env.EVC_CONSOLE_SERVICE ?? 'http://127.0.0.1:8080'
const API = [
  '/session',
  '/sessions',
  '/audit',
  '/evidence',
  '/checkpoint',
  '/charge-points',
  '/security',
  '/status',
  '/keys',
]

export default defineConfig({
  base: '/console/',
  plugins: [browserCrypto],
  build: {
    target: 'es2023',
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { host: '127.0.0.1', proxy: Object.fromEntries(API.map(path => [path, SERVICE])) },
})
