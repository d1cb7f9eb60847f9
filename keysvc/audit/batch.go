package audit

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"
)

// maxBatch is how many records are written at once at most: about as many
// kilobytes.
const maxBatch = 64

// pending is a record that waits for somebody to write it.
type pending struct {
	body    []byte
	written chan struct{} // closed when err is set
	err     error
}

// queue holds the records that wait, oldest first.
type queue struct {
	mu   sync.Mutex // nothing else is taken under it
	list []*pending
}

func (q *queue) put(body []byte) *pending {
	p := &pending{body: body, written: make(chan struct{})}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, p)
	return p
}

// take removes the oldest records.
func (q *queue) take() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.list), maxBatch)
	batch := slices.Clone(q.list[:n])
	q.list = slices.Delete(q.list, 0, n)
	return batch
}

// withdraw removes a record unless somebody has taken it.
func (q *queue) withdraw(p *pending) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := slices.Index(q.list, p)
	if at < 0 {
		return false
	}
	q.list = slices.Delete(q.list, at, at+1)
	return true
}

// append writes a record, or waits until another appender has written it along
// with its own: at most LockTimeout for its turn, and then for another process.
func (l *File) append(ctx context.Context, body []byte) error {
	if err := ctx.Err(); err != nil {
		return l.fail("append", KindBusy, err)
	}
	p := l.queue.put(body)
	select {
	case <-l.turn: // the usual case needs no timer
		return l.lead(p)
	default:
	}
	timeout := time.NewTimer(l.config.LockTimeout)
	defer timeout.Stop()
	var err error
	select {
	case <-p.written:
		return p.err
	case <-l.turn:
		return l.lead(p)
	case <-timeout.C:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		err = ctx.Err()
	}
	if l.queue.withdraw(p) {
		return l.fail("append", KindBusy, err)
	}
	<-p.written // whoever has it is bounded too
	return p.err
}

// lead writes what waits, until the caller's record is written. The caller has
// the turn. It writes for others too, so it doesn't end with its own context.
func (l *File) lead(p *pending) error {
	defer func() { l.turn <- struct{}{} }()
	for {
		select {
		case <-p.written:
			return p.err
		default:
		}
		batch := l.queue.take()
		err := l.writeBatch(batch)
		for _, p := range batch {
			p.err = err
			close(p.written)
		}
	}
}

func (l *File) writeBatch(batch []*pending) error {
	if l.closed {
		return l.fail("append", KindClosed, os.ErrClosed)
	}
	if err := l.reopenIfMoved(); err != nil {
		return l.fail("open", KindIO, err)
	}
	if err := l.lock(); err != nil {
		return err
	}
	defer l.unlock()
	if err := l.catchUp(); err != nil {
		return err
	}
	bodies := make([][]byte, len(batch))
	for i, p := range batch {
		bodies[i] = p.body
	}
	return l.write(bodies...)
}
