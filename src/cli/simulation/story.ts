/**
 * What happens in the simulation, tick by tick: everyday traffic by chance, and three scenes at fixed times, so that a
 * newcomer sees each of them within a minute. The same seed tells the same story.
 */
import type { Answer, Api } from './api.ts'
import type { ChargePoint, Fleet } from './fleet.ts'
import type { Random } from './random.ts'

export const TICKS_PER_SECOND = 25
const SCENES_WITHIN_SECONDS = 40
const MISTAKES_APART_TICKS = 180 * TICKS_PER_SECOND
const MAINTENANCE_TICKS = 3 * TICKS_PER_SECOND
const GUESSES = 12
const ATTACKER = '203.0.113.66'
const INTRUDER = '203.0.113.99'

export interface Story {
  /** Does what happens at this tick. */
  tick(tick: number): Promise<void>
}

export interface Narrator {
  /** Something worth a line. */
  tell(line: string, kind: 'everyday' | 'attack'): void
  /** Every answer of the server, told or not. */
  count(answer: Answer): void
}

export function createStory(deps: {
  fleet: Fleet
  api: Api
  random: Random
  narrator: Narrator
  /** How long it will go on, if that is known. */
  seconds: number | undefined
}): Story {
  const { fleet, api, random, narrator } = deps
  const { chargePoints } = fleet
  const horizon = Math.min(deps.seconds ?? SCENES_WITHIN_SECONDS, SCENES_WITHIN_SECONDS) * TICKS_PER_SECOND
  const later = new Map<number, () => Promise<void>>([
    [Math.floor(horizon * 0.3), bruteForce],
    [Math.floor(horizon * 0.5), tampering],
    [Math.floor(horizon * 0.7), intrusion],
  ])

  /** Never none: the last one is not taken out. */
  const inService = () => chargePoints.filter(cp => cp.isInService)

  async function counted(answer: Promise<Answer>): Promise<Answer> {
    const given = await answer
    narrator.count(given)
    return given
  }

  async function everyday(tick: number): Promise<void> {
    const cp = random.pick(chargePoints)
    const chance = random.below(100)
    if (!cp.isInService) return
    if (chance < 40) await counted(fleet.logIn(cp))
    else if (chance < 70) await counted(fleet.checkToken(cp))
    else if (chance < 88) await counted(fleet.sendMessage(cp, false))
    else if (chance < 93) await rotation(cp)
    else if (tick - cp.refusedAt < MISTAKES_APART_TICKS) return
    else if (chance < 97 || inService().length === 1) await mistake(cp, tick)
    else await maintenance(cp, tick)
  }

  async function rotation(cp: ChargePoint): Promise<void> {
    const { status, body } = await counted(fleet.renewKey(cp))
    narrator.tell(`${cp.cpId} gets key version ${body.version} -> ${status}`, 'everyday')
  }

  async function mistake(cp: ChargePoint, tick: number): Promise<void> {
    cp.refusedAt = tick
    const { status } = await counted(fleet.logInWrongly(cp, cp.ip))
    narrator.tell(`${cp.cpId} logs in with a wrong secret -> ${status}`, 'everyday')
  }

  async function maintenance(cp: ChargePoint, tick: number): Promise<void> {
    cp.refusedAt = tick
    const { status } = await counted(fleet.takeOut(cp))
    narrator.tell(`${cp.cpId} is taken out of service -> ${status}`, 'everyday')
    const refused = await counted(fleet.logIn(cp))
    narrator.tell(`${cp.cpId} logs in although it is out of service -> ${refused.status}`, 'everyday')
    plan(tick + MAINTENANCE_TICKS, async () => {
      const restored = await counted(fleet.restore(cp))
      narrator.tell(`${cp.cpId} is restored -> ${restored.status}`, 'everyday')
    })
  }

  /** At the first free tick from there on. */
  function plan(tick: number, act: () => Promise<void>): void {
    let free = tick
    while (later.has(free)) free++
    later.set(free, act)
  }

  async function bruteForce(): Promise<void> {
    const victim = random.pick(inService())
    narrator.tell(`BRUTE FORCE: ${ATTACKER} guesses the secret of ${victim.cpId}, ${GUESSES} times`, 'attack')
    const statuses: number[] = []
    for (let i = 0; i < GUESSES; i++) statuses.push((await counted(fleet.logInWrongly(victim, ATTACKER))).status)
    narrator.tell(`  answers ${statuses.join(' ')} (429: throttled)`, 'attack')
    const own = await counted(fleet.logIn(victim))
    narrator.tell(`  ${victim.cpId} itself still logs in from its own address -> ${own.status}`, 'attack')
  }

  async function tampering(): Promise<void> {
    const victim = random.pick(inService())
    const { status, body } = await counted(fleet.sendMessage(victim, true))
    narrator.tell(`TAMPERING: one bit of a message of ${victim.cpId} was changed -> ${status} ${body.code}`, 'attack')
  }

  async function intrusion(): Promise<void> {
    const { status, body } = await counted(api.intrude(INTRUDER, '/charge-points'))
    narrator.tell(
      `UNAUTHORIZED ADMIN ACCESS: ${INTRUDER} tries a guessed admin key -> ${status} ${body.code}`,
      'attack',
    )
  }

  return {
    async tick(tick) {
      const planned = later.get(tick)
      later.delete(tick)
      await (planned ?? (() => everyday(tick)))()
    },
  }
}
