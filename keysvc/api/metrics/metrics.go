package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the counters of one server.
type Metrics struct {
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	inFlight    prometheus.Gauge
	hsmErrors   *prometheus.CounterVec
	throttled   *prometheus.CounterVec
	connections prometheus.Gauge
	refused     prometheus.Counter
}

// New returns counters that stand at zero.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmsfs_requests_total",
			Help: "Requests by operation and result: OK or the error's name."}, []string{"operation", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kmsfs_request_duration_seconds",
			Help:    "Time to answer a request.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .05, .25, 1, 5, 20}}, []string{"operation"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kmsfs_requests_in_flight", Help: "Requests that are being answered."}),
		hsmErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmsfs_hsm_errors_total",
			Help: "Requests that failed because of the token, by kind of failure."}, []string{"kind"}),
		throttled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kmsfs_throttled_requests_total",
			Help: "Requests that were refused because of their rate."}, []string{"operation"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "kmsfs_connections", Help: "Open connections."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "kmsfs_connections_refused_total",
			Help: "Connections that were closed because there were too many."}),
	}
	m.registry.MustRegister(m.requests, m.duration, m.inFlight, m.hsmErrors, m.throttled, m.connections, m.refused,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in Prometheus's text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Begin counts a request that has begun.
func (m *Metrics) Begin() {
	if m != nil {
		m.inFlight.Inc()
	}
}

// End counts the end of a request that Begin has counted: of an operation's name,
// which must be one of few, with OK or an error's name.
func (m *Metrics) End(operation, code string, took time.Duration) {
	if m == nil {
		return
	}
	m.inFlight.Dec()
	m.requests.WithLabelValues(operation, code).Inc()
	m.duration.WithLabelValues(operation).Observe(took.Seconds())
}

// Throttled counts a request that came too soon after others.
func (m *Metrics) Throttled(operation string) {
	if m != nil {
		m.throttled.WithLabelValues(operation).Inc()
	}
}

// TokenFailed counts a request that failed because of the token.
func (m *Metrics) TokenFailed(kind string) {
	if m != nil {
		m.hsmErrors.WithLabelValues(kind).Inc()
	}
}

// Connected counts a connection that was opened (1) or closed (-1).
func (m *Metrics) Connected(change int) {
	if m != nil {
		m.connections.Add(float64(change))
	}
}

// Refused counts a connection that was closed because there were too many.
func (m *Metrics) Refused() {
	if m != nil {
		m.refused.Inc()
	}
}
