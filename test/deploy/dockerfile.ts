/** The Dockerfile as stages, by a real parser; and which files of the context a build gets to see. */
import assert from 'node:assert/strict'
import { cpSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { DockerfileParser, type Instruction, type PropertyInstruction } from 'dockerfile-ast'
import { ROOT, read } from './deployed.ts'

export const DOCKERFILE = read('deploy', 'Dockerfile')

export interface Stage {
  readonly name: string
  readonly image: string
  readonly instructions: readonly Instruction[]
}

export function stages(): Stage[] {
  const found: { name: string; image: string; instructions: Instruction[] }[] = []
  for (const instruction of DockerfileParser.parse(DOCKERFILE).getInstructions()) {
    const words = wordsOf(instruction)
    if (instruction.getKeyword() === 'FROM') {
      found.push({ image: words[0] ?? '', name: words[2] ?? '', instructions: [] })
    } else found.at(-1)?.instructions.push(instruction)
  }
  return found
}

export const wordsOf = (instruction: Instruction): string[] =>
  instruction.getArguments().map(argument => argument.getValue())

export const argumentsOf = (stage: Stage, keyword: string): string[] =>
  stage.instructions
    .filter(instruction => instruction.getKeyword() === keyword)
    .map(instruction => instruction.getArgumentsContent() ?? '')

/** The array of the exec form. */
export function execForm(text: string): string[] {
  return JSON.parse(text)
}

export function variables(stage: Stage): Record<string, string> {
  const properties = stage.instructions
    .filter(instruction => instruction.getKeyword() === 'ENV')
    .flatMap(instruction => (instruction as PropertyInstruction).getProperties())
  return Object.fromEntries(properties.map(property => [property.getName(), property.getValue() ?? '']))
}

/** `.dockerignore` is a list of what is allowed: everything is out but what is named. */
export function contextFiles(): string[] {
  const [first, ...rest] = read('.dockerignore')
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
  assert.equal(first, '*')
  return rest.map(line => {
    assert.match(line, /^![\w./-]+$/)
    return line.slice(1)
  })
}

/** The build context, without anything that `.dockerignore` keeps out. */
export function copyContext(to: string): void {
  for (const name of contextFiles()) cpSync(join(ROOT, name), join(to, name), { recursive: true })
}

export const isInContext = (path: string) => contextFiles().includes(path) && existsSync(join(ROOT, path))

/** Node.js of the lock file, which all tests run on. */
export function lockedNode(): string {
  return JSON.parse(read('package-lock.json')).packages['node_modules/node'].version
}
