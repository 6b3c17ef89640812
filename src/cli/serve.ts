/** `serve`: the security API and its audit trail, until a signal asks it to stop. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { Command } from 'commander'
import { formatPostgresAddress, parsePostgresUrl } from '../postgres/postgres-url.ts'
import type { Central } from '../service/central.ts'
import { dataFolder } from '../service/data-folder.ts'
import { isEveryAddress } from '../service/listening-url.ts'
import { VERSION } from '../service/version.ts'
import type { Settings } from '../settings/settings.ts'
import type { Shell } from './shell.ts'
import { aborted } from './signals.ts'
import type { Terminal } from './terminal.ts'
import { becomeReady } from './until-ready.ts'

export function serveCommand(shell: Shell): Command {
  return new Command('serve')
    .description('Serve the security API. Logs go to stderr, as JSON lines.')
    .option('--until-ready', 'stop again once it is ready: what has to be made or migrated is, and the settings work')
    .addHelpText(
      'after',
      `
Stops gracefully at SIGTERM or Ctrl-C, within 10 seconds; another one, a second or more after the first, ends it at
once (exit code 1).

Examples:
  ev-central serve
  ev-central serve --until-ready && echo "these settings work"
  EVC_PORT=9000 ev-central --data-dir /var/lib/ev-central serve 2> ev-central.log`,
    )
    .action(async ({ untilReady = false }: { untilReady?: boolean }, command: Command) => {
      const settings = shell.settings(command)
      const { databaseUrl, dataDir } = settings
      const isPassing = untilReady && databaseUrl !== undefined && !existsSync(dataFolder(dataDir).journalDirectory)
      // Loaded only here and in `demo`: the server's parts would make every other command start twice as slowly.
      const { runServer } = await import('./server-process.ts')
      shell.exitCode = await runServer(settings, async (central, logger, stopping) => {
        if (isOpenToOthers(settings)) logger.warn(PLAIN_TEXT_WARNING)
        printBanner(central, settings, shell.terminal)
        if (central.firstAdmin !== undefined && (await isUnread(shell.terminal))) logger.warn(KEY_NOT_SHOWN)
        logger.info({ url: central.url, version: VERSION }, 'serving')
        await (untilReady ? becomeReady(central, stopping) : aborted(stopping))
      })
      if (!isPassing) return
      const { leaveNoJournal } = await import('../service/instances.ts')
      await leaveNoJournal(databaseUrl, dataDir).catch(() => {}) // then it is one that stopped in good order
    })
}

const PLAIN_TEXT_WARNING =
  'serving other machines without TLS: credentials, tokens and admin keys can be read on the way. ' +
  'Set EVC_TLS_CERT and EVC_TLS_KEY, or listen on 127.0.0.1 behind a proxy that does TLS.'

const OTHERS_WRITE = 0o002

const KEY_NOT_SHOWN =
  'nobody reads the standard output, so the key of the first admin was not shown and is lost; ' +
  'make another admin with `ev-central admin add`, on the same data folder, while this goes on'

/** Writing to a pipe without a reader fails at once, but is told only in a later turn of the event loop. */
async function isUnread(terminal: Terminal): Promise<boolean> {
  await setImmediate()
  return terminal.outputClosed.aborted
}

function isOpenToOthers({ host, tlsCertFile }: Settings): boolean {
  return tlsCertFile === undefined && !/^(?:127(?:\.\d{1,3}){3}|::1|localhost)$/i.test(host)
}

function printBanner(central: Central, settings: Settings, terminal: Terminal): void {
  const { url, folder } = central
  terminal.print(terminal.paint('bold', `EV Central ${VERSION}`))
  const also = isEveryAddress(settings.host) ? `, and every other address of this machine (${settings.host})` : ''
  terminal.print(`  address      ${terminal.paint('cyan', url)}${also}`)
  terminal.print(`  console      ${url}/console`)
  terminal.print(`  reference    ${url}/docs`)
  terminal.print(`  data folder  ${folder.path}`)
  const { databaseUrl } = settings
  if (databaseUrl !== undefined)
    terminal.print(`  database     ${formatPostgresAddress(parsePostgresUrl(databaseUrl))}`)
  const place =
    databaseUrl === undefined ? `${join(folder.path, 'secrets')} (generated, mode 0600)` : 'in the database (generated)'
  if (central.generated.length > 0) terminal.print(`  secrets      ${place}`)
  printShortcomings(central, settings, terminal)
  printFirstAdmin(central, terminal)
  terminal.print()
  terminal.print('Ctrl-C stops it.')
}

const KEPT_ELSEWHERE =
  'This is no terminal: whatever keeps this output now holds the key. `ev-central admin add` makes another admin, and ' +
  '`admin revoke` ends this one.'

/** What stands between these settings and production; nothing that does not apply. */
function printShortcomings(central: Central, settings: Settings, terminal: Terminal): void {
  if (isOpenToOthers(settings)) {
    terminal.print()
    terminal.print(terminal.paint('red', `WARNING: ${PLAIN_TEXT_WARNING}`))
  }
  const shortcomings = [
    ...(settings.isProduction ? [] : ['development mode: set NODE_ENV=production, then nothing is generated any more']),
    ...central.generated.map(name => `${name} was generated and lies beside the data it protects: set it`),
    ...(settings.tlsCertFile === undefined
      ? ['no TLS: set EVC_TLS_CERT and EVC_TLS_KEY, or put a proxy in front']
      : []),
    ...(settings.databaseUrl === undefined
      ? ['embedded SQLite: one machine, one process; back up the data folder']
      : []),
    // A folder that was there before keeps its mode: a volume may have that of whoever mounted it.
    ...((statSync(central.folder.path).mode & OTHERS_WRITE) !== 0
      ? ['others on this machine may write into the data folder, and put other files in place of ours: chmod o-w']
      : []),
  ]
  terminal.print()
  terminal.print('Not production-ready about these settings:')
  for (const shortcoming of shortcomings) terminal.print(`  - ${shortcoming}`)
}

/**
 * By console only, once, and never through the logger: a log is kept and copied. Where the console is one too (a
 * container, a service manager, a redirection), it says so, as there is no other place to show it.
 */
function printFirstAdmin({ firstAdmin, url }: Central, terminal: Terminal): void {
  if (firstAdmin === undefined) return
  terminal.print()
  terminal.print(`First admin "${firstAdmin.name}". Its key, shown only now; store it:`)
  terminal.print(`  ${terminal.paint('bold', firstAdmin.key)}`)
  if (!terminal.isInteractive) terminal.print(KEPT_ELSEWHERE)
  terminal.print()
  terminal.print('Try it, with that key in ADMIN_KEY:')
  terminal.print(`  curl -X POST ${url}/charge-points -H "X-Admin-Key: $ADMIN_KEY" \\`)
  terminal.print(`    -H 'Content-Type: application/json' -d '{"cp_id": "CP-001"}'`)
}
