package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/control"
)

// statusTimeout bounds the wait for one daemon.
const statusTimeout = 5 * time.Second

func newStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status [MOUNTPOINT]",
		Short: "show mounted volumes, files in use, and whose keys are held since when",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.statusAll(c.Context())
			}
			mountpoint, err := mountpointPath(args[0])
			if err != nil {
				return err
			}
			return a.statusOne(c.Context(), mountpoint)
		},
	}
}

// statusAll prints one line for each mount of this user.
func (a *app) statusAll(ctx context.Context) error {
	clients, err := control.List(a.runtimeDir())
	if err != nil {
		return err
	}
	mounts := []control.Status{}
	for _, client := range clients {
		st, err := askStatus(ctx, client)
		if err != nil {
			a.ui.Note("%v", err)
			continue
		}
		mounts = append(mounts, st)
	}
	if a.json {
		return a.ui.JSON(map[string]any{"mounts": mounts})
	}
	var rows [][]string
	for _, st := range mounts {
		rows = append(rows, []string{st.Mountpoint, st.Backing, st.Volume, strconv.Itoa(len(st.Files)), strconv.Itoa(st.KeysHeld), localTime(st.Mounted)})
	}
	return a.ui.Table([]string{"MOUNTPOINT", "BACKING", "VOLUME", "FILES IN USE", "KEYS HELD", "MOUNTED"}, rows)
}

// statusOne prints a mount with its files.
func (a *app) statusOne(ctx context.Context, mountpoint string) error {
	client, err := control.Find(a.runtimeDir(), mountpoint)
	if err != nil {
		return err
	}
	st, err := askStatus(ctx, client)
	return show(a, "", st, err, a.printStatus)
}

// askStatus asks one daemon, with a deadline.
func askStatus(ctx context.Context, client *control.Client) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	return client.Status(ctx)
}

func (a *app) printStatus(st control.Status) error {
	err := a.ui.Fields(
		"Volume", st.Volume,
		"Backing", st.Backing,
		"Mountpoint", st.Mountpoint,
		"Mounted", localTime(st.Mounted),
		"Key", st.KeyARN,
		"Grant", st.GrantID,
		"State directory", st.StateDir,
		"Ledger", orDash(st.Ledger),
		"Daemon", fmt.Sprintf("pid %d", st.PID),
		"Keys held", strconv.Itoa(st.KeysHeld))
	if err != nil || len(st.Files) == 0 {
		return err
	}
	var rows [][]string
	for _, f := range st.Files {
		rows = append(rows, []string{localTime(f.Since), strconv.Itoa(f.Handles), humanize.IBytes(uint64(max(f.Size, 0))), f.Path})
	}
	a.ui.Heading("Files in use, each with its data key held:")
	return a.ui.Table([]string{"SINCE", "OPEN", "SIZE", "PATH"}, rows)
}
