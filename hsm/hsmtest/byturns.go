package hsmtest

import (
	"slices"
	"testing"
	"time"
)

// ByTurns measures two functions in turn and reports their medians and what part of the
// first one's rate the second one has, which holds on a busy machine too.
func ByTurns(b *testing.B, raw, whole func() error) {
	var one, other []time.Duration
	for b.Loop() {
		start := time.Now()
		rawErr := raw()
		middle := time.Now()
		if err := whole(); err != nil || rawErr != nil {
			b.Fatal(rawErr, err)
		}
		one, other = append(one, middle.Sub(start)), append(other, time.Since(middle))
	}
	slices.Sort(one)
	slices.Sort(other)
	r, w := one[len(one)/2], other[len(other)/2]
	b.ReportMetric(0, "ns/op") // of both together says nothing
	b.ReportMetric(float64(r), "raw-p50-ns")
	b.ReportMetric(float64(w), "whole-p50-ns")
	b.ReportMetric(100*float64(r)/float64(w), "%-of-raw-rate")
}
