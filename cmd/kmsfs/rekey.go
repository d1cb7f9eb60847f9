package main

import (
	"context"
	"path"
	"path/filepath"
	"strconv"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/fs"
)

const rekeyLong = `Gives files new data keys: their content is encrypted anew, and the new file takes the place of the
old one when it is on the disk. Without PATH every file gets one. PATH is a path in the volume, from its
root; of a directory, everything below. The volume must not be mounted, and needs free space for the
largest files that are done at once.

After an interruption run the same command again: it goes on where it ended. What the old data keys
opened, in a backup or in free space of the disk, they still open.`

func newRekeyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "rekey BACKING [PATH...]",
		Short: "give files new data keys",
		Long:  rekeyLong,
		Example: `  kmsfs rekey ~/vault
  kmsfs rekey ~/vault /finance /notes/today.txt`,
		Args: needSome("BACKING"),
		RunE: func(c *cobra.Command, args []string) error {
			backing, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			var paths []string
			for _, p := range args[1:] {
				paths = append(paths, path.Join("/", p))
			}
			return a.rekey(c.Context(), backing, paths)
		},
	}
	a.addEndpointFlag(c.Flags())
	return c
}

// rekey opens the volume offline and reports each file that fails.
func (a *app) rekey(ctx context.Context, backing string, paths []string) error {
	if _, err := fs.ReadVolumeInfo(backing); err != nil {
		return err
	}
	failures, bar := a.ui.Failures(), a.ui.Progress("rekeyed")
	defer bar.Stop()
	var res fs.RekeyResult
	err := a.withVolumes(ctx, func(v *offlineVolumes) error {
		o, err := v.volume(ctx, backing, false)
		if err != nil {
			return err
		}
		if bar.Shown() && len(paths) == 0 {
			bar.Total(o.Count(ctx))
		}
		res, err = o.Rekey(ctx, fs.RekeyOptions{Paths: paths, Progress: bar.Add, Failed: func(_ string, err error) {
			bar.Clear()
			failures.Add(err)
		}})
		return err
	})
	bar.Stop()
	if err != nil {
		return interruptedRekey(ctx, err)
	}
	if a.json {
		err = a.ui.JSON(res)
	} else {
		err = a.ui.Fields("Files", strconv.FormatInt(res.Files, 10), "New keys", strconv.FormatInt(res.Rekeyed, 10),
			"Done before", strconv.FormatInt(res.Skipped, 10), "Encrypted", humanize.IBytes(uint64(res.Bytes)), "Failed", strconv.FormatInt(res.Failed, 10))
	}
	if err != nil {
		return err
	}
	return failures.Result()
}

func interruptedRekey(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &appError{code: exitFailure, msg: "interrupted", hints: []string{"run the same command again: it goes on where it ended"}}
	}
	return err
}
