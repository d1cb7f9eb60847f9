// Package metrics counts what the key service does, for Prometheus.
//
//	kmsfs_requests_total{operation,code}         answered requests; code is OK or AWS's error name
//	kmsfs_request_duration_seconds{operation}    from the end of the headers to the answer
//	kmsfs_requests_in_flight
//	kmsfs_hsm_errors_total{kind}                 requests that failed because of the token
//	kmsfs_throttled_requests_total{operation}
//	kmsfs_connections, kmsfs_connections_refused_total
//
// and the Go runtime's and process's own. Labels hold names of operations and
// errors alone, never keys or principals.
//
// Trust: who can read the metrics learns how much the service is used, and by
// which operations. They are served on a listener of their own.
//
// Concurrency: [Metrics] may be used by any number of goroutines. A nil *Metrics
// counts nothing.
package metrics
