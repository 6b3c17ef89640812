/** `key`: the keys that sign the log's checkpoints. */
import { Command } from 'commander'
import { beginKeyChain, readKeyChain } from '../checkpoint/key-files.ts'
import { currentKey, type KeyChain } from '../evidence/key-chain.ts'
import { formatVerifierKey } from '../evidence/note.ts'
import { keyFolders, rotateKey } from '../service/rotate-key.ts'
import { UsageError } from './outcome.ts'
import type { Shell } from './shell.ts'

export function keyCommand(shell: Shell): Command {
  const group = new Command('key')
    .description('Show, make and rotate the keys that sign the checkpoints of the log.')
    .addHelpText('after', '\nExample:\n  ev-central key show')

  group
    .command('show')
    .description('Print the verifier key that auditors and witnesses need, and what became of earlier ones.')
    .option('--json', 'as one JSON object')
    .addHelpText('after', '\nExample:\n  ev-central key show')
    .action((options: { json?: boolean }, command: Command) => show(options, command, shell))
  group
    .command('generate')
    .description(
      'Make the first key before the first start. EVC_LOG_ORIGIN names the log. Changes nothing if there is one.',
    )
    .addHelpText('after', '\nExample:\n  EVC_LOG_ORIGIN=log.example.com/charging ev-central key generate')
    .action((_options: object, command: Command) => generate(command, shell))
  group
    .command('rotate')
    .description(
      'Let another key sign from now on. Works beside a running service. The old key signs a hand-over, and nothing else again.',
    )
    .addHelpText('after', '\nExample:\n  ev-central key rotate')
    .action((_options: object, command: Command) => rotate(command, shell))
  return group
}

function show(options: { json?: boolean }, command: Command, shell: Shell): void {
  const { terminal } = shell
  const folder = shell.folder(command)
  const chain = readKeyChain(keyFolders(folder))
  if (chain === undefined) {
    throw new UsageError(`${folder.path} has no log yet; the first start makes its key, or: ev-central key generate`)
  }
  if (options.json === true) terminal.print(JSON.stringify(describe(chain)))
  else {
    terminal.print(formatVerifierKey(currentKey(chain)))
    for (const { size, from } of chain.handOvers) {
      terminal.note(`up to ${size} events: ${formatVerifierKey(from)}`)
    }
  }
}

function describe(chain: KeyChain) {
  const { first, handOvers } = chain
  return {
    origin: first.name,
    verifier: formatVerifierKey(currentKey(chain)),
    earlier: handOvers.map(({ size, from }) => ({ verifier: formatVerifierKey(from), signed_up_to: size })),
  }
}

function generate(command: Command, shell: Shell): void {
  const settings = shell.settings(command)
  const folders = keyFolders(shell.folder(command))
  const isNew = readKeyChain(folders) === undefined
  const chain = beginKeyChain(folders, settings.logOrigin)
  shell.terminal.note(isNew ? `made; the private key is in ${folders.keys}` : 'the log has a key already')
  shell.terminal.print(formatVerifierKey(currentKey(chain)))
}

async function rotate(command: Command, shell: Shell): Promise<void> {
  const { key, isDone } = await rotateKey(shell.folder(command))
  const news = isDone
    ? 'signs from now on'
    : 'will sign as soon as the running service takes it over: its log says why not yet'
  shell.terminal.note(`the new key ${news}`)
  shell.terminal.print(formatVerifierKey(key))
}
