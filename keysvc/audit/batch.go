package audit

import (
	"context"
	"errors"
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

// take moves the oldest records to a batch.
func (q *queue) take(batch []*pending) []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.list), maxBatch)
	batch = append(batch, q.list[:n]...)
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
	select {
	case <-l.turn: // the usual case needs neither queue nor timer
		defer l.giveTurn()
		return l.writeWaiting(body)
	default:
		return l.await(ctx, l.queue.put(body))
	}
}

// await waits until the record is written, by the caller itself if its turn comes.
func (l *File) await(ctx context.Context, p *pending) error {
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
	defer l.giveTurn()
	for {
		select {
		case <-p.written:
			return p.err
		default:
		}
		_ = l.writeWaiting(nil) // those who wait are told, the caller among them
	}
}

// writeWaiting writes the oldest records that wait, tells their owners, and with
// them the caller's own one unless it is nil. The caller has the turn.
func (l *File) writeWaiting(own []byte) error {
	l.taken = l.queue.take(l.taken[:0])
	l.batch = l.batch[:0]
	for _, p := range l.taken {
		l.batch = append(l.batch, p.body)
	}
	if own != nil {
		l.batch = append(l.batch, own)
	}
	err := l.writeBatch(l.batch)
	for _, p := range l.taken {
		p.err = err
		close(p.written)
	}
	clear(l.taken)
	clear(l.batch)
	return err
}

func (l *File) writeBatch(bodies [][]byte) error {
	if l.closed {
		return l.fail("append", KindClosed, os.ErrClosed)
	}
	if err := l.reopenIfMoved(); err != nil {
		return l.fail("open", KindIO, err)
	}
	if err := l.catchUp(); err != nil {
		return err
	}
	return l.write(bodies...)
}

// catchUp returns with the file's lock and knows the end of the file.
func (l *File) catchUp() error {
	if l.lock.held {
		return nil
	}
	err := l.lock.take(l.file, l.config.LockTimeout)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return l.fail("append", KindBusy, err)
	case err != nil:
		return l.fail("append", KindIO, err)
	}
	if err := l.findEnd(); err != nil {
		l.lock.letGo(l.file)
		return err
	}
	return nil
}
