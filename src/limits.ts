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
  headerBytesMax: 16 * 1024,
  urlBytesMax: 8 * 1024,
  requestTimeoutMs: 15_000,
  headersTimeoutMs: 10_000,
  keepAliveTimeoutMs: 65_000,
  connectionsMax: 10_000,
  requestsInFlightMax: 2_000,
  streamClientsMax: 64,
  streamHeartbeatMs: 15_000,
  streamPageEvents: 200,
  streamRecheckMs: 1_000,
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

  // indexer
  batchRecordsMax: 10_000,

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
  summaryBucketsMax: 1_000,
  summaryTopMax: 10,
  /** Counted exactly up to here, in 16 bytes each. */
  summaryNamesMax: 4_000_000,
  episodesMax: 200,

  // health
  diskFreeBytesMin: 100 * 1024 * 1024,
  lagRecordsReadyMax: 100_000,

  // security
  listChargePointsMax: 1_000,
  scryptConcurrentMax: 1,
  scryptWaitingMax: 128,
  credentialCacheEntriesMax: 20_000,
  keyCacheEntriesMax: 20_000,
  messageNoncesPerKeyMax: 1_000_000,
  usualAddressesPerChargePointMax: 8,
  detectorSubjectsMax: 50_000,
  replayEventsMax: 20_000,
  throttlePairsMax: 100_000,
  throttleAddressesMax: 10_000,
  throttleDelaySecondsMax: 900,
} as const
