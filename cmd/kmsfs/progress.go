package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// progressInterval is how often a progress line is drawn anew.
const progressInterval = 100 * time.Millisecond

// barWidth is the length of a progress bar, in characters.
const barWidth = 24

// progress is a line on the terminal that tells how far a long command has come; elsewhere it prints
// nothing. It is safe for concurrent use.
type progress struct {
	ui   *ui
	verb string // what happens to files, such as "copied"

	mu      sync.Mutex
	drawn   time.Time // zero when the line is clear
	next    time.Time
	started time.Time
	files   int
	bytes   int64
	total   int64 // files in all, 0 when not known
	stopped bool
}

// Progress begins a progress line; verb is what happens to files.
func (u *ui) Progress(verb string) *progress {
	return &progress{ui: u, verb: verb, started: time.Now(), stopped: !u.errIsTerminal()}
}

// Add counts what was done since.
func (p *progress) Add(files int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.files += files
	p.bytes += bytes
	now := time.Now()
	if p.stopped || now.Before(p.next) {
		return
	}
	p.next, p.drawn = now.Add(progressInterval), now
	p.ui.status(p.line(now))
}

// Set is Add for a command that counts its files itself, anew for each pass.
func (p *progress) Set(files int) {
	p.mu.Lock()
	more := files - p.files
	p.mu.Unlock()
	p.Add(more, 0)
}

// Total tells how many files there are in all, when that becomes known.
func (p *progress) Total(files int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = files
}

// Shown reports whether anybody sees the line.
func (p *progress) Shown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.stopped
}

// line is what the terminal shows.
func (p *progress) line(now time.Time) string {
	counts := fmt.Sprintf("%s %d files", p.verb, p.files)
	if p.bytes > 0 {
		rate := float64(p.bytes) / max(now.Sub(p.started).Seconds(), 0.001)
		counts += fmt.Sprintf(", %s, %s/s", humanize.IBytes(uint64(p.bytes)), humanize.IBytes(uint64(rate)))
	}
	if p.total <= 0 {
		return counts
	}
	part := min(float64(p.files)/float64(p.total), 1)
	full := int(part * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f%%  %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), part*100, counts)
}

// Clear removes the line, so that something else can be printed.
func (p *progress) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if !p.drawn.IsZero() {
		p.ui.status("")
		p.drawn = time.Time{}
	}
}

// Stop removes the line for good.
func (p *progress) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	p.stopped = true
}
