import { createEventFixture } from '../unit/query/event-fixture.ts'
import { eventCountsContract } from './event-counts.ts'
import { eventEpisodesContract } from './event-episodes.ts'
import { eventPagesContract } from './event-pages.ts'
import { logQuestionsContract } from './log-questions.ts'

const create = async () => createEventFixture()

eventPagesContract('SQLite queries', create)
eventCountsContract('SQLite queries', create)
eventEpisodesContract('SQLite queries', create)
logQuestionsContract('SQLite queries', create)
