package audit

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// Log takes the records of a key service.
type Log interface {
	// Append adds a record to the trail. When it returns nil the record survives
	// the death of this process and, depending on the log, a power failure.
	Append(ctx context.Context, event *Event) error
}

// Sync says when records reach the disk.
type Sync int

const (
	// SyncSecond syncs within a second of a record's appending.
	SyncSecond Sync = iota
	// SyncAlways syncs before Append returns; concurrent calls share a flush.
	SyncAlways
)

// Config opens a trail.
type Config struct {
	Path string // the file; its directory must exist
	Sync Sync
	// LockTimeout bounds the wait for other appenders and then for another
	// process's lock; 0 means 5 s.
	LockTimeout time.Duration
	// Now is the clock for the package's own records; nil means time.Now.
	Now func() time.Time
}

const (
	defaultLockTimeout = 5 * time.Second
	syncDelay          = 500 * time.Millisecond
	lookEvery          = time.Second // how soon a moved trail is noticed
)

// File is a [Log] in one file that several processes append to.
type File struct {
	config Config
	flush  *flusher

	queue   queue // the records that wait to be written
	writers writerPool

	// turn is held (by whoever has taken its element) over the members below
	// and the file's lock. It is a channel so that waiting honours a context.
	turn   chan struct{}
	lock   fileLock
	file   *os.File
	looked time.Time // when the path was last seen to lead to file
	end    int64     // the file's size after the last append that tail knows of
	tail   tail
	batch  [][]byte   // scratch: the records of a write
	taken  []*pending // scratch: those of others among them
	text   []byte     // scratch: their lines
	closed bool
	once   sync.Once
}

var _ Log = (*File)(nil)

// Open opens the trail, making the file if there is none. It doesn't verify it.
func Open(config Config) (*File, error) {
	if config.LockTimeout == 0 {
		config.LockTimeout = defaultLockTimeout
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	f, err := openTrail(config.Path)
	if err != nil {
		return nil, &Error{Op: "open", Path: config.Path, Kind: KindIO, Err: err}
	}
	l := &File{config: config, file: f, turn: make(chan struct{}, 1), looked: time.Now(), end: -1, flush: newFlusher(f)}
	if l.lock, err = openFileLock(config.Path, l.letGo); err != nil {
		return nil, l.fail("open", KindIO, errors.Join(err, f.Close()))
	}
	l.giveTurn()
	return l, nil
}

func openTrail(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
}

// Append implements [Log].
func (l *File) Append(ctx context.Context, event *Event) error {
	if err := l.flush.failed(); err != nil {
		return l.fail("sync", KindIO, err)
	}
	w := l.writers.get()
	defer l.writers.put(w)
	if err := w.event(event); err != nil {
		return l.fail("append", KindIO, err)
	}
	if err := l.append(ctx, w.text); err != nil {
		return err
	}
	if l.config.Sync != SyncAlways {
		l.flush.soon()
		return nil
	}
	if err := l.flush.now(ctx); err != nil {
		return l.fail("sync", KindIO, err)
	}
	return nil
}

// reopenIfMoved begins a new trail when the file was moved or removed, as log
// rotation does. It looks once a second.
func (l *File) reopenIfMoved() error {
	if time.Since(l.looked) < lookEvery {
		return nil
	}
	have, err := l.file.Stat()
	if err != nil {
		return err
	}
	if want, err := os.Stat(l.config.Path); err == nil && os.SameFile(have, want) {
		l.looked = time.Now()
		return nil
	}
	f, err := openTrail(l.config.Path)
	if err != nil {
		return err
	}
	l.lock.letGo(l.file)
	l.file, l.looked, l.end = f, time.Now(), -1
	return l.flush.replace(f)
}

// letGo gives the file's lock up when it was kept for long enough.
func (l *File) letGo() {
	<-l.turn
	defer l.giveTurn()
	if !l.closed {
		l.lock.letGo(l.file)
	}
}

func (l *File) giveTurn() { l.turn <- struct{}{} }

// write appends records with one write(2). A write that was cut short, by a full
// disk for instance, is taken back while the lock is still held.
func (l *File) write(bodies ...[]byte) error {
	text, next := l.text[:0], l.tail
	for _, body := range bodies {
		text, next = next.seal(text, body)
	}
	l.text = text
	n, err := l.file.Write(text)
	if err != nil {
		if n > 0 {
			err = errors.Join(err, l.file.Truncate(l.end))
		}
		l.lock.letGo(l.file) // whoever has it next looks for the end
		l.end = -1
		return l.fail("append", KindIO, err)
	}
	l.end += int64(n)
	l.tail = next
	return nil
}

// Close syncs what was appended and closes the file.
func (l *File) Close() error {
	var err error
	l.once.Do(func() {
		<-l.turn
		l.closed = true
		err = l.lock.close(l.file)
		l.giveTurn()
		err = errors.Join(err, l.flush.close())
	})
	if err != nil {
		return l.fail("sync", KindIO, err)
	}
	return nil
}

func (l *File) fail(op string, kind Kind, err error) error {
	return &Error{Op: op, Path: l.config.Path, Kind: kind, Err: err}
}
