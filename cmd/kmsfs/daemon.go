package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
	"github.com/kmsfs/kmsfs/fs"
)

// daemon serves one mount. It implements control.Handler.
type daemon struct {
	app    *app
	log    *slog.Logger
	keys   *openedKeys
	socket *control.Server
	server *fs.Server
}

// serveAsDaemon is the life of the process that spawnDaemon started.
func (a *app) serveAsDaemon(ctx context.Context, m mountRequest, pipe *os.File) error {
	log := newLogger(os.Stderr, m.options.debug) // the log file
	state, err := filepath.Abs(a.keyStateDir())
	if err == nil {
		a.stateDir = state
	}
	d, err := a.startMount(ctx, m, log, readSecretLine)
	if err != nil {
		log.Error("mount failed", "mountpoint", m.mountpoint, "error", err)
		sendReady(pipe, err)
		return &silentError{exitCode(err)}
	}
	if err := os.Chdir("/"); err != nil { // the daemon keeps no directory of the caller's busy
		log.Warn("stays in the caller's directory", "error", err)
	}
	sendReady(pipe, nil)
	return d.run(ctx)
}

// serveForeground is kmsfs mount -f.
func (a *app) serveForeground(ctx context.Context, m mountRequest) error {
	log := newLogger(a.ui.err, m.options.debug)
	d, err := a.startMount(ctx, m, log, nil)
	if err != nil {
		return err
	}
	return d.run(ctx)
}

// newLogger logs as text lines.
func newLogger(w io.Writer, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// startMount hardens the process, opens the key service, claims the mount point and mounts. With
// readPIN, a prompted PIN comes from standard input, where the parent has put it.
func (a *app) startMount(ctx context.Context, m mountRequest, log *slog.Logger, readPIN func(io.Reader) ([]byte, error)) (d *daemon, err error) {
	if err := harden(); err != nil {
		return nil, err
	}
	ask := a.ui.AskSecret
	if readPIN != nil {
		ask = func(string) ([]byte, error) { return readPIN(a.ui.in) }
	}
	d = &daemon{app: a, log: log}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.keys, err = a.openKeysWith(ctx, firstUse{}, ask, log, a.remote.patient()); err != nil {
		return d, err
	}
	if d.socket, err = control.Claim(a.runtimeDir(), m.mountpoint); err != nil {
		return d, err
	}
	d.server, err = fs.Mount(ctx, fs.MountOptions{
		Backing: m.backing, Mountpoint: m.mountpoint, Keys: d.keys.Service(), Principal: d.principal,
		AllowOther: m.options.allowOther, DefaultPermissions: m.options.defaultPermissions,
		ReadOnly: m.options.readOnly, Debug: m.options.debug, FuseOptions: m.options.kernel,
		Logger: log, FSName: m.backing, LedgerDir: a.ledgerDir(m.options.noLedger),
	})
	return d, err
}

// principal is who calls the key service.
func (d *daemon) principal(ctx context.Context) string {
	caller, err := d.keys.Caller(ctx)
	if err != nil {
		d.log.Warn("the mount's grant is made to the account's root, as the caller is not known", "error", err)
	}
	return caller
}

// run serves until the mount is gone, whoever unmounts it.
func (d *daemon) run(ctx context.Context) error {
	st := d.server.Status()
	d.log.Info("mounted", "volume", st.Volume, "backing", st.Backing, "mountpoint", st.Mountpoint, "key", st.KeyARN)
	go d.socket.Serve(d)
	defer context.AfterFunc(ctx, d.stop)() // a signal ends ctx
	err := d.server.Wait()
	d.log.Info("unmounted", "volume", st.Volume, "mountpoint", st.Mountpoint)
	failed := errors.Join(err, d.close())
	if failed != nil {
		d.socket.Failed(failed)
	}
	return failed
}

// stop unmounts after a signal. If files are in use, the mount is detached: nobody can open
// anything any more, and the daemon ends with the last close.
func (d *daemon) stop() {
	err := d.server.Unmount()
	if err == nil {
		return
	}
	mountpoint := d.server.Status().Mountpoint
	d.log.Warn("the mount is in use; detached until the last close", "mountpoint", mountpoint, "error", err)
	if err := detachMount(mountpoint, true); err != nil {
		d.log.Error("detach failed", "mountpoint", mountpoint, "error", err)
	}
}

// close ends what startMount began, in reverse.
func (d *daemon) close() error {
	var errs []error
	if d.socket != nil {
		errs = append(errs, d.socket.Close())
	}
	if d.keys != nil {
		errs = append(errs, d.keys.Close())
	}
	return errors.Join(errs...)
}

// Unmount implements control.Handler.
func (d *daemon) Unmount() error { return d.server.Unmount() }

// Status implements control.Handler.
func (d *daemon) Status() control.Status {
	return control.Status{PID: os.Getpid(), StateDir: d.app.keyStateDir(), Status: d.server.Status()}
}

// harden keeps keys out of core dumps and away from ptrace by the same user, and lets the process
// hold as many files as the system allows.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return wrapf(err, "forbid core dumps")
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return wrapf(err, "forbid core dumps")
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return wrapf(err, "read the limit of open files")
	}
	files.Cur = files.Max
	return wrapf(unix.Setrlimit(unix.RLIMIT_NOFILE, &files), "raise the limit of open files")
}
