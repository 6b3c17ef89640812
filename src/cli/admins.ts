/** `admin`: who may use the operators' part of the API, with which role. */
import { Argument, Command, InvalidArgumentError, Option } from 'commander'
import { LIMITS } from '../limits.ts'
import { ROLES, type Role } from '../security/security.ts'
import { withSecurity } from './security-door.ts'
import type { Shell } from './shell.ts'
import { printTable } from './table.ts'

const ROLE_HELP = 'admin (all), operator (charge points, keys, status, reads) or auditor (reads only)'

export function adminCommand(shell: Shell): Command {
  const group = new Command('admin')
    .description('Add, list and revoke admins. Works beside a running server, which follows at once.')
    .addHelpText('after', '\nExample:\n  ev-central admin add alice --role operator')

  group
    .command('add')
    .description('Add an admin and show the generated key, this once. A revoked name may come back with a new key.')
    .addArgument(nameArgument())
    .addOption(new Option('--role <role>', ROLE_HELP).choices(ROLES).makeOptionMandatory())
    .option('--json', 'as one JSON object')
    .addHelpText('after', '\nExample:\n  ev-central admin add alice --role operator')
    .action((name: string, options: { role: Role; json?: boolean }, command: Command) =>
      add(name, options, command, shell),
    )
  group
    .command('list')
    .description('List the admins, revoked ones too.')
    .option('--json', 'one JSON object a line')
    .addHelpText('after', '\nExample:\n  ev-central admin list')
    .action((options: { json?: boolean }, command: Command) => list(options, command, shell))
  group
    .command('revoke')
    .description('Revoke an admin: the key stops working at once.')
    .addArgument(nameArgument())
    .addHelpText('after', '\nExample:\n  ev-central admin revoke alice')
    .action((name: string, _options: object, command: Command) => revoke(name, command, shell))
  return group
}

function nameArgument(): Argument {
  return new Argument('<name>', 'name of the admin').argParser(text => {
    if (!/^[A-Za-z0-9._@-]+$/.test(text) || text.length > LIMITS.adminNameCharactersMax) {
      throw new InvalidArgumentError(`It is 1 to ${LIMITS.adminNameCharactersMax} of the characters A-Za-z0-9._@-`)
    }
    return text
  })
}

async function add(name: string, options: { role: Role; json?: boolean }, command: Command, shell: Shell) {
  const { terminal } = shell
  const admin = await withSecurity(shell, command, { mayCreate: true }, (security, actor) =>
    security.admins.add(name, options.role, actor),
  )
  terminal.note(`${name} may act as ${options.role}. The key, shown only this once; store it:`)
  terminal.print(options.json === true ? JSON.stringify(admin) : admin.key)
}

async function list(options: { json?: boolean }, command: Command, shell: Shell) {
  const { terminal } = shell
  const admins = await withSecurity(shell, command, { mayCreate: false }, security => security.admins.list())
  if (options.json === true) {
    for (const admin of admins) terminal.print(JSON.stringify(admin))
    return
  }
  printTable(
    terminal,
    [{ title: 'name', isElastic: true }, { title: 'role' }, { title: 'added' }, { title: 'revoked' }],
    admins.map(({ name, role, created_at, revoked_at }) => [name, role, created_at, revoked_at ?? '']),
  )
}

async function revoke(name: string, command: Command, shell: Shell) {
  await withSecurity(shell, command, { mayCreate: false }, (security, actor) => security.admins.revoke(name, actor))
  shell.terminal.note(`${name} is revoked`)
}
