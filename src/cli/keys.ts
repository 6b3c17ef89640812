/** `key`: the keys that sign the log's checkpoints. */
import { Command } from 'commander'
import { beginKeyChain, readKeyChain } from '../checkpoint/key-files.ts'
import { readSharedSigned } from '../checkpoint/postgres-signed.ts'
import { counted } from '../counted.ts'
import { currentKeys, type KeyChain, type LogKeys, listKeys } from '../evidence/key-chain.ts'
import { formatVerifierKey } from '../evidence/note.ts'
import { createPostgres } from '../postgres/postgres.ts'
import type { DataFolder } from '../service/data-folder.ts'
import { requireMlDsa44 } from '../service/log.ts'
import { keyFolders, rotateKey } from '../service/rotate-key.ts'
import { generateSharedKeys, rotateSharedKeys } from '../service/shared-keys.ts'
import { UsageError } from './outcome.ts'
import { silentLogger } from './security-door.ts'
import type { Shell } from './shell.ts'

export function keyCommand(shell: Shell): Command {
  const group = new Command('key')
    .description('Show, make and rotate the keys that sign the checkpoints of the log.')
    .addHelpText('after', '\nExample:\n  ev-central key show')

  group
    .command('show')
    .description(
      'Print the verifier key that auditors and witnesses need (with ML-DSA-44 a second one), and what became of earlier ones.',
    )
    .option('--json', 'as one JSON object')
    .addHelpText('after', '\nExample:\n  ev-central key show')
    .action((options: { json?: boolean }, command: Command) => show(options, command, shell))
  group
    .command('generate')
    .description(
      'Make the first key before the first start. EVC_LOG_ORIGIN names the log; with EVC_LOG_ML_DSA a second key signs, too. Changes nothing if there is one.',
    )
    .addHelpText('after', '\nExample:\n  EVC_LOG_ORIGIN=log.example.com/charging ev-central key generate')
    .action((_options: object, command: Command) => generate(command, shell))
  group
    .command('rotate')
    .description(
      'Let another key sign from now on, and another ML-DSA-44 key if there is one. Works beside a running service, and for all instances that share a database. The old keys sign a hand-over, and nothing else again.',
    )
    .addHelpText('after', '\nExample:\n  ev-central key rotate')
    .action((_options: object, command: Command) => rotate(command, shell))
  return group
}

async function show(options: { json?: boolean }, command: Command, shell: Shell): Promise<void> {
  const { terminal } = shell
  const { databaseUrl } = shell.settings(command)
  const chain = databaseUrl === undefined ? chainOf(shell.folder(command)) : await readSharedChainAt(databaseUrl)
  if (chain === undefined)
    throw new UsageError('there is no log in this PostgreSQL yet; the first start, or `key generate`, makes its key')
  if (options.json === true) terminal.print(JSON.stringify(describe(chain)))
  else {
    printKeys(currentKeys(chain), shell)
    for (const { size, from } of chain.handOvers) {
      for (const key of listKeys(from)) terminal.note(`up to ${counted(size, 'event')}: ${formatVerifierKey(key)}`)
    }
  }
}

function chainOf(folder: DataFolder): KeyChain {
  const chain = readKeyChain(keyFolders(folder))
  if (chain !== undefined) return chain
  throw new UsageError(`${folder.path} has no log yet; the first start makes its key, or: ev-central key generate`)
}

async function readSharedChainAt(url: string): Promise<KeyChain | undefined> {
  await using postgres = createPostgres({ url, connectionsMax: 1 })
  return await postgres.snapshot(async session => (await readSharedSigned(session)).chain)
}

/** A line each, as `verify --key` takes them from a file. */
function printKeys(keys: LogKeys, { terminal }: Shell): void {
  for (const key of listKeys(keys)) terminal.print(formatVerifierKey(key))
}

function describe(chain: KeyChain) {
  const { first, handOvers } = chain
  return {
    origin: first.name,
    ...describeKeys(currentKeys(chain)),
    earlier: handOvers.map(({ size, from }) => ({ ...describeKeys(from), signed_up_to: size })),
  }
}

function describeKeys({ ed25519, mlDsa44 }: LogKeys) {
  return { verifier: formatVerifierKey(ed25519), ml_dsa_44: mlDsa44 === undefined ? null : formatVerifierKey(mlDsa44) }
}

async function generate(command: Command, shell: Shell): Promise<void> {
  const settings = shell.settings(command)
  const { databaseUrl: url } = settings
  if (url !== undefined) {
    requireMlDsa44(settings)
    const { keys, isNew } = await generateSharedKeys({ settings, url, logger: silentLogger() })
    shell.terminal.note(isNew ? 'made; what is private is in the database, wrapped' : HAS_KEYS)
    return printKeys(keys, shell)
  }
  const folders = keyFolders(shell.folder(command))
  const isNew = readKeyChain(folders) === undefined
  requireMlDsa44(settings, folders)
  const chain = beginKeyChain(folders, settings.logOrigin, settings.logMlDsa)
  shell.terminal.note(isNew ? `made; what is private is in ${folders.keys}` : HAS_KEYS)
  printKeys(currentKeys(chain), shell)
}

const HAS_KEYS = 'the log has a key already'

async function rotate(command: Command, shell: Shell): Promise<void> {
  const settings = shell.settings(command)
  const { databaseUrl: url } = settings
  if (url !== undefined) {
    const keys = await rotateSharedKeys({ settings, url, logger: silentLogger() })
    shell.terminal.note('the new key signs from now on, at every instance')
    return printKeys(keys, shell)
  }
  const { keys, isDone } = await rotateKey(shell.folder(command))
  const news = isDone
    ? 'signs from now on'
    : 'will sign as soon as the running service takes it over: its log says why not yet'
  shell.terminal.note(`the new key ${news}`)
  printKeys(keys, shell)
}
