/** Who is erased, for the child and for who starts it. */
export const NAME = 'CP-vanishing-4711'
export const ADDRESS = '203.0.113.171'
export const EVENTS = 2_500
/** Of those, and the one that waits in the outbox. */
export const HELD = EVENTS / 10 + 1
