package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// useInUse reads and writes a file that was opened before, and has the daemon do the work.
func useInUse(t *testing.T, f *os.File) {
	t.Helper()
	want := fmt.Sprint("written at ", time.Now())
	_, err := f.WriteAt([]byte(want), 8192)
	must(t, err)
	must(t, f.Sync())
	must(t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
	got := make([]byte, len(want))
	_, err = f.ReadAt(got, 8192)
	must(t, err)
	if string(got) != want {
		t.Fatalf("read %q, want %q", got, want)
	}
}

// patient opens a file and closes it. Signals of Go's scheduler do not count.
func patient(path string, flags int) error {
	f, err := os.OpenFile(path, flags, 0o644)
	if err == nil {
		f.Close()
	}
	return err
}

func response(status, body string, headers ...string) string {
	s := "HTTP/1.1 " + status + "\r\n"
	for _, h := range headers {
		s += h + "\r\n"
	}
	return s + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

func TestOutageOfAnyKindIsATimeoutAndPasses(t *testing.T) {
	const wait = time.Second
	r := newRemoteVolume(t)
	r.mount("-o", "key_wait="+wait.String())
	must(t, os.Mkdir(r.path("dir"), 0o755))
	write(t, r.path("file"), "content")
	write(t, r.path("dir", "file"), "content")
	r.waitNoKeys()
	inUse, err := os.OpenFile(r.path("in-use"), os.O_CREATE|os.O_RDWR, 0o644)
	must(t, err)
	defer inUse.Close()
	t.Cleanup(func() { r.net.set(fault{}) })
	refused := fault{reset: true, reply: "-"} // stands for a closed port
	for name, f := range map[string]fault{
		"refuses connections":    refused,
		"resets connections":     {reset: true},
		"resets in its answers":  {cut: true},
		"does not answer":        {hang: true},
		"answers too late":       {delay: 2 * wait},
		"answers no HTTP":        {reply: "SSH-2.0-OpenSSH_9.2\r\n"},
		"answers no JSON":        {reply: response("200 OK", "<html>hello</html>", "Content-Type: text/html")},
		"answers half a message": {reply: response("200 OK", `{"Plaintext": "AAA`, "Content-Type: application/x-amz-json-1.1")},
		"is gone behind a proxy": {reply: response("503 Service Unavailable", "<html>no backend</html>")},
		"fails":                  {reply: response("500 Internal Server Error", `{"__type": "KMSInternalException"}`)},
		"is called too often":    {reply: response("400 Bad Request", `{"__type": "ThrottlingException", "message": "Rate exceeded"}`)},
		"is another server":      {reply: response("404 Not Found", "<html>not found</html>")},
	} {
		t.Run(name, func(t *testing.T) {
			r.net.set(f)
			if f == refused {
				r.net.down()
			}
			start := time.Now()
			made, renamed := make(chan error), make(chan error)
			go func() { made <- patient(r.path("made"), unix.O_CREAT|unix.O_WRONLY) }()
			go func() { renamed <- os.Rename(r.path("dir", "file"), r.path("dir", "new")) }()
			useInUse(t, inUse)
			wantErrno(t, "open", patient(r.path("file"), unix.O_RDONLY), unix.ETIMEDOUT)
			wantErrno(t, "create", <-made, unix.ETIMEDOUT)
			wantErrno(t, "rename", <-renamed, unix.ETIMEDOUT)
			if took := time.Since(start); took > 2*wait {
				t.Errorf("they failed after %v", took)
			}
			r.net.set(fault{})
			if f == refused {
				r.net.up()
			}
			start = time.Now()
			wantContent(t, r.path("file"), "content")
			if took := time.Since(start); took > wait {
				t.Errorf("it took %v to find out that the service is back", took)
			}
		})
	}
}

// The certificate is another one after a restart, of the same authority.
func TestMountSurvivesARestartOfItsKeyService(t *testing.T) {
	r := newRemoteVolume(t, "--tls")
	r.mount("-o", "key_wait=10s")
	write(t, r.path("file"), "content")
	r.waitNoKeys()
	inUse, err := os.OpenFile(r.path("in-use"), os.O_CREATE|os.O_RDWR, 0o644)
	must(t, err)
	defer inUse.Close()
	for range 2 {
		r.keys.stop()
		useInUse(t, inUse)
		waiting := make(chan error)
		for i := range 8 {
			go func() { waiting <- patient(r.path("file"), []int{unix.O_RDONLY, unix.O_RDWR}[i%2]) }()
		}
		made := make(chan error)
		go func() { made <- patient(r.path("made"), unix.O_CREAT|unix.O_WRONLY) }()
		time.Sleep(time.Second)
		useInUse(t, inUse)
		r.keys.start()
		r.net.moveTo(r.keys.addr())
		for range 8 {
			must(t, <-waiting)
		}
		must(t, <-made)
		wantContent(t, r.path("file"), "content")
	}
	must(t, inUse.Close())
	r.keys.stop()
	r.keys.start()
	r.net.moveTo(r.keys.addr())
	_, key := r.info()
	r.umount() // retires the grant
	if grants := r.keys.vol.kmsfs("grant", "list", key); len(grants) == 0 {
		t.Error("no answer")
	}
}

// Nobody tells a client of the connections that a host had when it lost its power.
func TestConnectionsThatLeadNowhereAreGivenUp(t *testing.T) {
	r := newRemoteVolume(t)
	r.mount("-o", "key_wait=3s")
	for i := range 20 {
		write(t, r.path(fmt.Sprint(i)), "content")
	}
	r.waitNoKeys()
	openAll := func() {
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if err := patient(r.path(fmt.Sprint(i)), unix.O_RDONLY); err != nil {
					t.Errorf("open: %v", err)
				}
			})
		}
		all.Wait()
	}
	r.net.set(fault{delay: 100 * time.Millisecond}) // so that all need a connection
	openAll()
	r.net.set(fault{})
	if n := r.net.open(); n < 10 {
		t.Fatalf("only %d connections", n)
	}
	r.net.lose()
	openAll()
	openAll()
}

func TestOpensThatWaitKnockTogether(t *testing.T) {
	r := newRemoteVolume(t)
	r.mount("-o", "key_wait=6s")
	write(t, r.path("file"), "content")
	r.waitNoKeys()
	r.net.set(fault{reset: true})
	before := r.net.accepted.Load()
	var all sync.WaitGroup
	const opens = 200
	for range opens {
		all.Go(func() {
			if err := patient(r.path("file"), unix.O_RDONLY); err != nil {
				t.Errorf("open: %v", err)
			}
		})
	}
	time.Sleep(3 * time.Second)
	listed := time.Now()
	if names, err := os.ReadDir(r.Mnt); err != nil || len(names) != 1 {
		t.Errorf("listing: %v, %v", names, err)
	}
	if took := time.Since(listed); took > time.Second {
		t.Errorf("a listing waited %v behind the opens", took)
	}
	tried := r.net.accepted.Load() - before
	if tried > opens+40 {
		t.Errorf("%d opens made %d connections in three seconds", opens, tried)
	}
	r.net.set(fault{})
	start := time.Now()
	all.Wait()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("%v until all were answered", took)
	}
}

func TestThrottledOpensAreAllAnswered(t *testing.T) {
	limits := filepath.Join(t.TempDir(), "limits")
	write(t, limits, `{"rates": {"cryptographic": 20}}`)
	r := newRemoteVolume(t, "--throttle", limits)
	r.mount("-o", "key_wait=15s")
	write(t, r.path("file"), "content")
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() {
			if err := patient(r.path("file"), unix.O_RDONLY); err != nil {
				t.Errorf("open: %v", err)
			}
		})
	}
	start := time.Now()
	all.Wait()
	if time.Since(start) < time.Second {
		t.Error("nothing was throttled")
	}
}
