/** `cp`: register charge points, see them, and change their status and credentials. */
import { readFileSync } from 'node:fs'
import { Argument, Command, InvalidArgumentError, Option } from 'commander'
import { escapeUnprintable } from '../audit/redaction.ts'
import { counted } from '../counted.ts'
import { LIMITS } from '../limits.ts'
import type { Actor, CpStatus, Security, SecurityStatus } from '../security/security.ts'
import { CP_STATUSES } from '../security/security.ts'
import { freeText } from './filters.ts'
import { UsageError } from './outcome.ts'
import { withSecurity } from './security-door.ts'
import type { Shell } from './shell.ts'
import { printTable } from './table.ts'

interface CommonOptions {
  readonly json?: boolean
  readonly reason?: string
}

export function cpCommand(shell: Shell): Command {
  const group = new Command('cp')
    .description('Manage charge points. Works beside a running server, which follows at once.')
    .addHelpText('after', '\nExample:\n  ev-central cp add CP-001 --location "Depot north, bay 7"')
  addRegistration(group, shell)
  addViews(group, shell)
  addStatusChanges(group, shell)
  return group
}

function addRegistration(group: Command, shell: Shell): void {
  group
    .command('add')
    .description('Register a charge point and show its generated credentials, this once.')
    .addArgument(cpIdArgument())
    .option('--location <text>', 'where it stands', freeText(LIMITS.locationCharactersMax))
    .option('--credentials-file <file>', 'use the credentials in this file (- is stdin) instead of generating some')
    .option('--json', 'as one JSON object')
    .addHelpText('after', '\nExample:\n  ev-central cp add CP-001 --location "Depot north, bay 7"')
    .action((cpId: string, options: AddOptions, command: Command) => add(cpId, options, command, shell))
  group
    .command('credentials')
    .description('Issue new credentials and show them, this once. The old ones and all tokens stop working.')
    .addArgument(cpIdArgument())
    .addOption(reasonOption())
    .option('--json', 'as one JSON object')
    .addHelpText('after', '\nExample:\n  ev-central cp credentials CP-001 --reason "unit replaced"')
    .action((cpId: string, options: CommonOptions, command: Command) => reissue(cpId, options, command, shell))
  group
    .command('delete')
    .description('Delete a charge point with its keys. Its audit trail stays.')
    .addArgument(cpIdArgument())
    .addHelpText('after', '\nExample:\n  ev-central cp delete CP-001')
    .action(async (cpId: string, _options: object, command: Command) => {
      await change(shell, command, (security, actor) => security.chargePoints.remove(cpId, actor))
      shell.terminal.note(`${cpId} is deleted`)
    })
}

function addViews(group: Command, shell: Shell): void {
  group
    .command('list')
    .description('List the charge points.')
    .addOption(new Option('--status <status>', 'only these').choices(CP_STATUSES))
    .option('--json', 'one JSON object a line')
    .addHelpText('after', '\nExample:\n  ev-central cp list --status OUT_OF_SERVICE')
    .action((options: ListOptions, command: Command) => list(options, command, shell))
  group
    .command('show')
    .description('Show one charge point.')
    .addArgument(cpIdArgument())
    .option('--json', 'as one JSON object')
    .addHelpText('after', '\nExample:\n  ev-central cp show CP-001')
    .action((cpId: string, options: CommonOptions, command: Command) => show(cpId, options, command, shell))
}

function addStatusChanges(group: Command, shell: Shell): void {
  const changes = [
    ['out-of-service', 'Take a charge point out of service.', true],
    ['restore', 'Bring a charge point that is out of service back.', false],
    ['revoke', 'Revoke a charge point, its key and every token at once.', true],
  ] as const
  for (const [name, description, needsReason] of changes) {
    group
      .command(name)
      .description(description)
      .addArgument(cpIdArgument())
      .addOption(reasonOption().makeOptionMandatory(needsReason))
      .addHelpText('after', `\nExample:\n  ev-central cp ${name} CP-001 --reason "yearly maintenance"`)
      .action(async (cpId: string, { reason = '' }: CommonOptions, command: Command) => {
        const { old_status, new_status } = await change(shell, command, ({ status }, actor) => {
          if (name === 'restore') return status.restore(cpId, reason === '' ? undefined : reason, actor)
          return name === 'revoke' ? status.revoke(cpId, reason, actor) : status.outOfService(cpId, reason, actor)
        })
        shell.terminal.note(`${cpId}: ${old_status} -> ${new_status}`)
      })
  }
}

function cpIdArgument(): Argument {
  return new Argument('<cp_id>', 'identity of the charge point').argParser(text => {
    if (!/^[A-Za-z0-9*\-_=:+|@.]+$/.test(text) || text.length > LIMITS.cpIdCharactersMax) {
      throw new InvalidArgumentError(`It is 1 to ${LIMITS.cpIdCharactersMax} of the characters A-Za-z0-9*-_=:+|@.`)
    }
    return text
  })
}

function reasonOption(): Option {
  return new Option('--reason <text>', 'why, for the audit trail').argParser(freeText(LIMITS.reasonCharactersMax))
}

function change<T>(shell: Shell, command: Command, work: (security: Security, actor: Actor) => Promise<T>): Promise<T> {
  return withSecurity(shell, command, { mayCreate: false }, work)
}

interface AddOptions extends CommonOptions {
  readonly location?: string
  readonly credentialsFile?: string
}

async function add(cpId: string, options: AddOptions, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const chosen = options.credentialsFile === undefined ? {} : { credentials: readCredentials(options.credentialsFile) }
  const location = options.location === undefined ? {} : { location: options.location }
  const registered = await withSecurity(shell, command, { mayCreate: true }, (security, actor) =>
    security.chargePoints.register({ cp_id: cpId, ...location, ...chosen }, actor),
  )
  const { credentials } = registered
  if (credentials === undefined) terminal.note(`${cpId} is registered with the given credentials`)
  else terminal.note(`${cpId} is registered. The credentials, shown only this once; store them:`)
  if (options.json === true) terminal.print(JSON.stringify(registered))
  else if (credentials !== undefined) terminal.print(credentials)
}

/** Not as an argument: those are seen by everybody on the machine and kept in the shell's history. */
function readCredentials(file: string): string {
  const credentials = readFileSync(file === '-' ? 0 : file, 'utf8').replace(/\r?\n$/, '')
  const { credentialsCharactersMin: min, credentialsCharactersMax: max } = LIMITS
  const isPrintable = credentials.isWellFormed() && escapeUnprintable(credentials) === credentials
  const characters = [...credentials].length // code points, as over HTTP
  if (characters < min || characters > max || !isPrintable) {
    throw new UsageError(`credentials are ${min} to ${max} printable characters`)
  }
  return credentials
}

async function reissue(cpId: string, options: CommonOptions, command: Command, shell: Shell): Promise<void> {
  const issued = await change(shell, command, (security, actor) =>
    security.chargePoints.reissueCredentials(cpId, options.reason, actor),
  )
  shell.terminal.note(`The new credentials of ${cpId}, shown only this once; store them:`)
  shell.terminal.print(options.json === true ? JSON.stringify(issued) : issued.credentials)
}

interface ListOptions extends CommonOptions {
  readonly status?: CpStatus
}

/** Failures are counted by the server in memory; what is not known here is not shown. */
type KnownStatus = Omit<SecurityStatus, 'failures_in_window'>

async function list(options: ListOptions, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const found = await change(shell, command, security => allStatuses(security, options.status))
  if (options.json === true) {
    for (const status of found) await terminal.write(`${escapeUnprintable(JSON.stringify(status))}\n`)
    return
  }
  printTable(
    terminal,
    [
      { title: 'cp_id', isElastic: true },
      { title: 'status' },
      { title: 'key', align: 'right' },
      { title: 'last success' },
      { title: 'location', isElastic: true },
    ],
    found.map(status => [
      status.cp_id,
      status.security_status,
      status.key_version === null ? '-' : `v${status.key_version}`,
      status.last_success ?? 'never',
      status.location ?? '',
    ]),
  )
  terminal.note(counted(found.length, 'charge point'))
}

async function allStatuses(security: Security, status: CpStatus | undefined): Promise<KnownStatus[]> {
  const found: KnownStatus[] = []
  let after: string | undefined
  do {
    const page = await security.chargePoints.statuses({
      limit: LIMITS.listChargePointsMax,
      ...(status === undefined ? {} : { status }),
      ...(after === undefined ? {} : { after }),
    })
    found.push(...page.charge_points.map(known))
    after = page.next ?? undefined
  } while (after !== undefined)
  return found
}

async function show(cpId: string, options: CommonOptions, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const status = known(await change(shell, command, security => security.chargePoints.status(cpId)))
  if (options.json === true) {
    terminal.print(escapeUnprintable(JSON.stringify(status)))
    return
  }
  for (const [name, value] of Object.entries(status)) {
    terminal.print(`${name.padEnd(16)} ${value === null ? '-' : escapeUnprintable(String(value))}`)
  }
}

function known({ failures_in_window: _, ...status }: SecurityStatus): KnownStatus {
  return status
}
