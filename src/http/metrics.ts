/** What the door tells Prometheus. Labels are route patterns and statuses, never anything a caller wrote. */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

export interface HttpMetrics {
  requestStarted(): void
  /** `route` is the pattern, undefined where none matched. */
  requestEnded(method: string, route: string | undefined, status: number, seconds: number): void
  /** Turned away before it was looked at. */
  requestRefused(method: string | undefined, status: number): void
  readonly requestsInFlight: number
  streamClients(count: number): void
  clientError(code: string): void
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]
const METHODS = new Set(['GET', 'HEAD', 'POST', 'DELETE'])

export function createHttpMetrics(registry: Registry): HttpMetrics {
  const registers = [registry]
  let inFlight = 0
  const duration = new Histogram({
    name: 'evc_http_request_duration_seconds',
    help: 'From the first look at a request to the end of its answer.',
    labelNames: ['method', 'route', 'status'],
    buckets: SECONDS,
    registers,
  })
  new Gauge({
    name: 'evc_http_requests_in_flight',
    help: 'Requests being answered now.',
    registers,
    collect() {
      this.set(inFlight)
    },
  })
  const streams = new Gauge({ name: 'evc_http_stream_clients', help: 'Open event streams.', registers })
  const clientErrors = new Counter({
    name: 'evc_http_client_errors_total',
    help: 'Connections on which something else than HTTP arrived, too much of it, or too slowly.',
    labelNames: ['code'],
    registers,
  })
  const methodLabel = (method: string | undefined) => (method !== undefined && METHODS.has(method) ? method : 'other')
  return {
    requestStarted() {
      inFlight++
    },
    requestEnded(method, route, status, seconds) {
      inFlight--
      duration.observe({ method: methodLabel(method), route: route ?? 'none', status }, seconds)
    },
    requestRefused(method, status) {
      duration.observe({ method: methodLabel(method), route: 'none', status }, 0)
    },
    get requestsInFlight() {
      return inFlight
    },
    streamClients: count => streams.set(count),
    clientError: code => clientErrors.inc({ code }),
  }
}
