package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// maxLine bounds a record, in bytes. The largest calls (an encryption context
// of the size that the wire protocol admits) stay far below.
const maxLine = 1 << 20

// findEnd makes l.tail the end of the file. It costs one fstat if nobody else
// has appended since. The caller has just taken the file's lock.
func (l *File) findEnd() error {
	var info unix.Stat_t // os.File.Stat would allocate
	if err := unix.Fstat(int(l.file.Fd()), &info); err != nil {
		return l.fail("append", KindIO, os.NewSyscallError("fstat", err))
	}
	if info.Size == l.end {
		return nil
	}
	size, err := l.dropTorn(info.Size)
	if err != nil {
		return err
	}
	l.tail, err = l.readTail(size)
	if err != nil {
		return err
	}
	torn := info.Size - size
	l.end = size
	if torn > 0 {
		return l.recordTorn(torn)
	}
	return nil
}

// readTail reads the last record of a file that ends in a newline at size.
func (l *File) readTail(size int64) (tail, error) {
	if size == 0 {
		return genesis(), nil
	}
	window, err := l.lastBytes(size)
	if err != nil {
		return tail{}, err
	}
	line := bytes.TrimSuffix(window, []byte("\n"))
	if at := bytes.LastIndexByte(line, '\n'); at >= 0 {
		line = line[at+1:]
	}
	last, ok := parseLink(line)
	if !ok {
		return tail{}, l.fail("append", KindDamaged, errors.New("the last record was changed"))
	}
	return last.tail, nil
}

func (l *File) lastBytes(size int64) ([]byte, error) {
	window := make([]byte, min(size, maxLine+1))
	if _, err := l.file.ReadAt(window, size-int64(len(window))); err != nil && !errors.Is(err, io.EOF) {
		return nil, l.fail("append", KindIO, err)
	}
	return window, nil
}

// dropTorn cuts off a line that a crash left unfinished: bytes behind the last
// newline, or zeros that a filesystem left where data never arrived. What it
// cuts off is kept beside the trail. It returns the new size.
func (l *File) dropTorn(size int64) (int64, error) {
	window, err := l.lastBytes(size)
	if err != nil {
		return 0, err
	}
	whole := wholeLines(window)
	if whole == len(window) {
		return size, nil
	}
	if whole == 0 && size > int64(len(window)) {
		return 0, l.fail("append", KindDamaged, fmt.Errorf("the trail ends in a line of more than %d bytes", maxLine))
	}
	torn := window[whole:]
	keep := size - int64(len(torn))
	name := fmt.Sprintf("%s.torn-%d", l.config.Path, keep)
	if err := os.WriteFile(name, torn, 0o600); err != nil {
		return 0, l.fail("append", KindIO, err)
	}
	if err := l.file.Truncate(keep); err != nil {
		return 0, l.fail("append", KindIO, err)
	}
	return keep, nil
}

// wholeLines returns how many bytes of p are complete lines. A last line with
// NUL bytes in it, which JSON never has, counts as incomplete.
func wholeLines(p []byte) int {
	end := bytes.LastIndexByte(p, '\n') + 1
	if end == 0 {
		return 0
	}
	start := bytes.LastIndexByte(p[:end-1], '\n') + 1
	if bytes.IndexByte(p[start:end], 0) >= 0 {
		return start
	}
	return end
}

// recordTorn notes in the trail that an unfinished record was set aside.
func (l *File) recordTorn(size int64) error {
	event := &Event{
		UserIdentity:        UserIdentity{Type: "AWSService", InvokedBy: "kms.amazonaws.com"},
		EventName:           "RecoverAuditTrail",
		EventID:             uuid.NewString(),
		EventType:           TypeServiceEvent,
		ServiceEventDetails: Params{"unfinishedBytes": size, "keptIn": fmt.Sprintf("%s.torn-%d", l.config.Path, l.end)},
	}
	event.Stamp(l.config.Now())
	w := l.writers.get()
	defer l.writers.put(w)
	if err := w.event(event); err != nil {
		return l.fail("append", KindIO, err)
	}
	return l.write(w.text)
}
