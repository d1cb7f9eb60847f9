package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// appenderEnv makes the test binary append records to the file it names until
// it is killed.
const appenderEnv = "AUDIT_TEST_APPEND_TO"

func TestMain(m *testing.M) {
	if path := os.Getenv(appenderEnv); path != "" {
		appendForEver(path)
	}
	os.Exit(m.Run())
}

// appendForEver writes the number of each record to stdout once it is appended.
func appendForEver(path string) {
	l, err := Open(Config{Path: path})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), i)
		if err := l.Append(context.Background(), event(id)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(id)
	}
}

func event(id string) *Event {
	e := &Event{
		EventName: "Decrypt", EventID: id, EventType: TypeAPICall, ReadOnly: true,
		UserIdentity:      UserIdentity{Type: "Root", ARN: "arn:aws:iam::000000000000:root"},
		RequestParameters: Params{"encryptionContext": map[string]string{"kmsfs:path": `/a&b/<"ü">` + "\n"}},
	}
	e.Stamp(time.Unix(1700000000, 0))
	return e
}

func newTrail(t testing.TB, c Config) *File {
	t.Helper()
	if c.Path == "" {
		c.Path = filepath.Join(t.TempDir(), "audit.jsonl")
	}
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func appendAll(t testing.TB, l *File, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := l.Append(context.Background(), event(id)); err != nil {
			t.Fatal(err)
		}
	}
}

func verify(t *testing.T, path string) *Report {
	t.Helper()
	report, err := Verify(path)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func wantIntact(t *testing.T, path string, records uint64) {
	t.Helper()
	if r := verify(t, path); !r.Intact() || r.Records != records || r.Unfinished != 0 {
		t.Fatalf("report %+v, want %d intact records", r, records)
	}
}

func readIDs(t *testing.T, path string) []string {
	t.Helper()
	r, err := OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var ids []string
	for {
		record, err := r.Next()
		if errors.Is(err, io.EOF) {
			return ids
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, record.EventID)
	}
}

func TestRecordComesBackAsWritten(t *testing.T) {
	l := newTrail(t, Config{})
	appendAll(t, l, "one")
	r, err := OpenReader(l.config.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	record, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(event("one"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(record.Event)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) || record.Chain.Sequence != 1 {
		t.Errorf("read %s, sequence %d\nwrote %s", got, record.Chain.Sequence, want)
	}
	if !bytes.Contains(record.Line, []byte(`/a&b/<`)) {
		t.Errorf("characters are escaped that needn't be: %s", record.Line)
	}
}

func TestSeveralWritersMakeOneChain(t *testing.T) {
	first := newTrail(t, Config{})
	second := newTrail(t, Config{Path: first.config.Path, Sync: SyncAlways})
	const writers, records = 8, 50
	var group sync.WaitGroup
	for w := range writers {
		l := []*File{first, second}[w%2]
		group.Go(func() {
			for i := range records {
				if err := l.Append(t.Context(), event(fmt.Sprintf("%d-%d", w, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	wantIntact(t, first.config.Path, writers*records)
}

func TestKilledProcessesLoseNoAnsweredRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	answered := make(chan string, 1<<16)
	var group sync.WaitGroup
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), appenderEnv+"="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			text, _ := io.ReadAll(out)
			for line := range strings.SplitAfterSeq(string(text), "\n") {
				if id, whole := strings.CutSuffix(line, "\n"); whole {
					answered <- id
				}
			}
			_ = cmd.Wait()
		})
		time.AfterFunc(300*time.Millisecond, func() { _ = cmd.Process.Kill() })
	}
	group.Wait()
	close(answered)
	appendAll(t, newTrail(t, Config{Path: path}), "after")
	recorded := map[string]bool{}
	for _, id := range readIDs(t, path) {
		recorded[id] = true
	}
	n := 0
	for id := range answered {
		n++
		if !recorded[id] {
			t.Errorf("%s was answered and isn't in the trail", id)
		}
	}
	if report := verify(t, path); !report.Intact() || n == 0 {
		t.Errorf("%d answered, report %+v", n, report)
	}
}

func TestUnfinishedRecordIsSetAsideAndNoted(t *testing.T) {
	for name, torn := range map[string]string{
		"half a line":         `{"eventVersion":"1.11","ev`,
		"zeros":               strings.Repeat("\x00", 100),
		"zeros and a newline": "{" + strings.Repeat("\x00", 100) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			l := newTrail(t, Config{})
			appendAll(t, l, "a")
			f, err := os.OpenFile(l.config.Path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(torn); err != nil {
				t.Fatal(err)
			}
			f.Close()
			appendAll(t, newTrail(t, Config{Path: l.config.Path}), "b")
			wantIntact(t, l.config.Path, 3)
			if ids := readIDs(t, l.config.Path); ids[0] != "a" || ids[2] != "b" {
				t.Errorf("records %v", ids)
			}
			kept, err := filepath.Glob(l.config.Path + ".torn-*")
			if err != nil || len(kept) != 1 {
				t.Fatalf("set aside: %v, %v", kept, err)
			}
			if text, err := os.ReadFile(kept[0]); err != nil || string(text) != torn {
				t.Errorf("set aside %q, %v", text, err)
			}
		})
	}
}

func TestUnfinishedFirstRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(`{"eventV`), 0o600); err != nil {
		t.Fatal(err)
	}
	appendAll(t, newTrail(t, Config{Path: path}), "a")
	wantIntact(t, path, 2)
}

func kindOf(err error) Kind {
	var e *Error
	if !errors.As(err, &e) {
		return -1
	}
	return e.Kind
}

func TestAppendRefusesAnEditedTail(t *testing.T) {
	l := newTrail(t, Config{})
	appendAll(t, l, "a", "b")
	holdLock(t, l.config.Path)() // the appender looks at the end again when it has let go
	text, _ := os.ReadFile(l.config.Path)
	if err := os.WriteFile(l.config.Path, append(bytes.TrimSuffix(text, []byte("\n")), " \n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	err := l.Append(t.Context(), event("c"))
	if kindOf(err) != KindDamaged {
		t.Fatalf("append gives %v", err)
	}
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "audit verify") {
		t.Errorf("no hint in %v", err)
	}
}

func TestFullDiskFailsTheCallAndLeavesTheChainWhole(t *testing.T) {
	l := newTrail(t, Config{})
	appendAll(t, l, "a")
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	// A limit inside the next record makes write(2) write a part, then fail.
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(l.end) + 10, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	err := l.Append(t.Context(), event("b"))
	if e := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); e != nil {
		t.Fatal(e)
	}
	if kindOf(err) != KindIO {
		t.Fatalf("append gives %v", err)
	}
	wantIntact(t, l.config.Path, 1)
	appendAll(t, l, "c")
	wantIntact(t, l.config.Path, 2)
}

func TestHeldLockFailsAfterABoundedTime(t *testing.T) {
	l := newTrail(t, Config{LockTimeout: 50 * time.Millisecond})
	f, err := os.Open(l.config.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := l.Append(t.Context(), event("a")); kindOf(err) != KindBusy {
		t.Errorf("append gives %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Append(ctx, event("a")); kindOf(err) != KindBusy || !errors.Is(err, context.Canceled) {
		t.Errorf("append with a cancelled context gives %v", err)
	}
	if waited := time.Since(start); waited > 30*time.Second { // one that waits for ever, on a busy machine too
		t.Errorf("waited %v", waited)
	}
}

func TestClosedTrailRefuses(t *testing.T) {
	l := newTrail(t, Config{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), event("a")); kindOf(err) != KindClosed {
		t.Errorf("append gives %v", err)
	}
}

func TestReplacedFileIsNoticed(t *testing.T) {
	l := newTrail(t, Config{})
	appendAll(t, l, "a", "b")
	// Another process cuts off a record: what is left decides how to go on.
	holdLock(t, l.config.Path)() // it lets go
	text, _ := os.ReadFile(l.config.Path)
	if err := os.Truncate(l.config.Path, int64(bytes.IndexByte(text, '\n')+1)); err != nil {
		t.Fatal(err)
	}
	appendAll(t, l, "c")
	wantIntact(t, l.config.Path, 2)
}

func TestMovedTrailIsContinuedInANewFile(t *testing.T) {
	for name, move := range map[string]func(path string) error{
		"moved":   func(path string) error { return os.Rename(path, path+".1") },
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			l := newTrail(t, Config{})
			appendAll(t, l, "a", "b")
			if err := move(l.config.Path); err != nil {
				t.Fatal(err)
			}
			l.looked = time.Now().Add(-lookEvery)
			appendAll(t, l, "c", "d")
			wantIntact(t, l.config.Path, 2)
			if name == "moved" {
				wantIntact(t, l.config.Path+".1", 2)
			}
		})
	}
	t.Run("directory gone", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "audit")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l := newTrail(t, Config{Path: filepath.Join(dir, "audit.jsonl")})
		appendAll(t, l, "a")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		l.looked = time.Now().Add(-lookEvery)
		if err := l.Append(t.Context(), event("b")); kindOf(err) != KindIO {
			t.Errorf("append gives %v", err)
		}
	})
}

func TestFollowSeesRecordsAsTheyCome(t *testing.T) {
	l := newTrail(t, Config{})
	appendAll(t, l, "old")
	r, err := OpenReader(l.config.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.SkipToEnd(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, id := range []string{"one", "two"} {
			time.Sleep(20 * time.Millisecond)
			_ = l.Append(context.Background(), event(id))
		}
	}()
	for _, want := range []string{"one", "two"} {
		record, err := r.Follow(t.Context())
		if err != nil || record.EventID != want {
			t.Fatalf("followed %q, %v; want %q", record.EventID, err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.Follow(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("follow ends with %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	l := newTrail(b, Config{})
	e := event("x")
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Append(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendSyncAlways(b *testing.B) {
	l := newTrail(b, Config{Sync: SyncAlways})
	e := event("x")
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Append(b.Context(), e); err != nil {
				b.Fatal(err)
			}
		}
	})
}
