/**
 * Every limit of the system, with its unit last. Nothing accepts input without one of these.
 * What has to be tuned per installation is a setting (settings/table.ts), not a limit.
 */
export const LIMITS = {
  // HTTP door
  bodyBytesMax: 64 * 1024,
  /** Of a body that is refused for its size: how much is read and dropped so that the client gets to see the answer. */
  bodyDrainBytesMax: 16 * 1024 * 1024,
  bodyDepthMax: 16,
  bodyFieldsMax: 64,
  /** How many broken rules a refusal tells: more than `bodyFieldsMax` fields and those that are missing can break. */
  violationsMax: 80,
  headerBytesMax: 16 * 1024,
  urlBytesMax: 8 * 1024,
  requestTimeoutMs: 15_000,
  headersTimeoutMs: 10_000,
  keepAliveTimeoutMs: 65_000,
  connectionsMax: 10_000,
  requestsInFlightMax: 1_000,
  /** When all of those are taken: how long one may wait for the rest of a body, or for whoever reads its answer. */
  clientIdleMsMax: 1_000,
  /** Without a byte of an answer being taken; noticed within as long again. */
  stalledMsMax: 30_000,
  exportsMax: 64,
  streamClientsMax: 64,
  streamHeartbeatMs: 15_000,
  streamPageEvents: 200,
  streamRecheckMs: 500,
  closeGraceMs: 5_000,
  forwardedAddressesMax: 32,

  // fields
  cpIdCharactersMax: 48,
  locationCharactersMax: 200,
  reasonCharactersMax: 256,
  credentialsCharactersMin: 16,
  credentialsCharactersMax: 256,
  tokenCharactersMax: 4096,
  messageCharactersMax: 48 * 1024,
  adminNameCharactersMax: 64,
  adminKeyCharactersMin: 32,
  adminKeyCharactersMax: 256,

  // events
  whoCharactersMax: 64,
  endpointCharactersMax: 200,
  descriptionCharactersMax: 500,
  errorMessageCharactersMax: 200,
  validationRulesShownMax: 5,
  fieldNameCharactersMax: 40,
  metadataStringCharactersMax: 500,
  metadataDepthMax: 8,
  metadataNodesMax: 256,
  metadataJsonCharactersMax: 8 * 1024,

  // journal
  recordBytesMax: 64 * 1024,
  segmentBytesMax: 64 * 1024 * 1024,
  journalQueueBytesMax: 32 * 1024 * 1024,
  /** Of each of the two files that hold the room in which a loss is declared on a full disk. */
  journalReserveBytes: 128 * 1024,
  /** Set aside for the next start: the `-shm` of two databases (32 KiB each), and a few blocks more. */
  startReserveBytes: 96 * 1024,
  /** Less room than this on the journal's disk, and strict changes are refused: a few records of the largest size. */
  journalFreeBytesMin: 512 * 1024,

  // indexer
  batchRecordsMax: 10_000,

  // PostgreSQL
  /** Of one part of one instance (security, indexer, queries). */
  postgresConnectionsMax: 8,
  /** Also of the wait for a free connection. */
  postgresConnectMsMax: 5_000,
  postgresStatementMsMax: 30_000,
  postgresLockMsMax: 10_000,
  /** Of a transaction without a statement: an instance that is gone holds its locks for no longer. */
  postgresIdleMsMax: 10_000,

  // queries
  pageEventsMax: 1_000,
  pageEventsDefault: 100,
  exportPieceEvents: 250,
  filterValuesMax: 20,
  queryMsMax: 5_000,
  queriesWaitingMax: 256,
  failureMinutesMax: 1_440,
  failureEventsMax: 1_000,
  summaryDaysMax: 366,
  summaryBucketsMax: 1_440,
  summaryTopMax: 10,
  /** Counted exactly up to here, in 16 bytes each. */
  summaryNamesMax: 4_000_000,
  episodesMax: 200,

  // retention
  archiveBlockEventsMax: 1_024,
  /** A block also ends here, so that large events do not fill the memory of whoever reads it. */
  archiveBlockCharactersMax: 4 * 1024 * 1024,
  /** Of one block, unpacked. */
  archiveBlockBytesMax: 64 * 1024 * 1024,
  archiveManifestBytesMax: 16 * 1024 * 1024,
  legalHoldsMax: 1_000,
  /** Digests in the event that tells of an erasure: 72 characters each. */
  tombstoneManifestsMax: 64,

  // evidence
  /** Signed notes. The specification asks for 16 signatures at least; one of ML-DSA-44 takes 3,300 characters. */
  noteSignaturesMax: 64,
  noteCharactersMax: 256 * 1024,
  keyNameCharactersMax: 255,
  checkpointExtensionLinesMax: 16,
  logKeysMax: 1_000,
  /** One for each level of a tree of 2^63 leaves. */
  proofHashesMax: 63,
  /** Also of a request to a witness: a checkpoint, hashes, and a row. */
  proofCharactersMax: 512 * 1024,
  evidencePackEventsMax: 100_000,
  /** Of its events and proofs, unpacked. */
  evidencePackBytesMax: 512 * 1024 * 1024,
  /** Of whoever checks one: all of it unpacked, with the page, which has the rest once more in base64. */
  evidencePackUnpackedBytesMax: 1_280 * 1024 * 1024,
  evidencePackPageBytesMax: 736 * 1024 * 1024,
  evidencePackManifestBytesMax: 64 * 1024,
  /** Of the zip, if nothing in it can be compressed. */
  evidencePackZipBytesMax: 1_280 * 1024 * 1024,
  /** Of what is in the page before the rest. */
  evidencePackFrameBytesMax: 4 * 1024 * 1024,
  evidencePackFilesMax: 16,
  /** Of one event or proof. */
  evidencePackLineBytesMax: 512 * 1024,
  /** Built at the same time over HTTP: each holds what it has packed so far in memory. */
  evidencePacksMax: 2,
  /** Asked of a reader at once: what takes some milliseconds, so that other questions get their turn. */
  evidencePieceEvents: 100,

  // witnesses
  /** That one witness follows. */
  witnessLogsMax: 64,
  witnessConnectionsMax: 256,
  /** That one log asks. */
  witnessesMax: 16,
  witnessUrlCharactersMax: 1_024,
  /** One attempt with one witness, with whatever it has to be told first. */
  witnessAttemptMsMax: 5_000,
  /** Beyond, what is signed is shown without the cosignatures that are wanted. */
  witnessedWaitMsMax: 30_000,
  /** How long a request waits for the checkpoint that covers what it asks for. One is signed every second. */
  signedWaitMsMax: 5_000,
  /** For the last checkpoint of a service that stops. */
  lastCosignaturesMsMax: 2_000,
  witnessRetryMsMin: 1_000,
  witnessRetryMsMax: 300_000,
  /** How far the clock of a witness may be ahead of ours. */
  cosignatureAheadMsMax: 60_000,
  /** One checkpoint each ten minutes for ten years has 200 MB; one with two signatures each hour 310 MB. */
  checkpointHistoryBytesMax: 512 * 1024 * 1024,
  keyChainBytesMax: 16 * 1024 * 1024,
  verifyWorkersMax: 64,

  // health
  diskFreeBytesMin: 100 * 1024 * 1024,
  lagRecordsReadyMax: 100_000,
  unsignedReadyMsMax: 60_000,

  // sessions
  /** Since it was opened or renewed last. */
  sessionIdleSecondsMax: 30 * 60,
  /** Since the sign-in, however often it is renewed. */
  sessionSecondsMax: 12 * 60 * 60,
  /** Of one admin at the same time; a further one ends the oldest. */
  sessionsPerAdminMax: 20,

  // console
  incidentNoteCharactersMax: 500,
  overviewStreamMsMin: 2_000,

  // security
  /** How long a change waits for PostgreSQL to come back and say whether its commit happened. */
  stateSettleMsMax: 8_000,
  listChargePointsMax: 1_000,
  scryptConcurrentMax: 1,
  scryptWaitingMax: 128,
  credentialCacheEntriesMax: 20_000,
  keyCacheEntriesMax: 20_000,
  messageNoncesPerKeyMax: 1_000_000,
  usualAddressesPerChargePointMax: 8,
  detectorSubjectsMax: 50_000,
  replayEventsMax: 20_000,
  replayRecordsMax: 500_000,
  throttlePairsMax: 100_000,
  throttleAddressesMax: 10_000,
  throttleDelaySecondsMax: 900,
  /** Different wrong admin keys from one network, then 429. */
  adminGuessesMax: 20,
  /** Wrong admin keys from one network, the same one again included, then 429. */
  adminWrongKeysMax: 100,
  /** Refusals of admin access to one network that are an incident each; of more, only those that double the count. */
  adminIncidentsEachMax: 200,
} as const
