package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/cmd/kmsfs/copytree"
)

func newCatCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "cat BACKING:/PATH...",
		Short: "print files of a volume without mounting it",
		Long: `Prints files of a volume that is not mounted. Nothing in the backing directory is changed. Each file is
an open like any other: the key service is asked, and the audit trail has it.`,
		Example: `  kmsfs cat ~/vault:/notes/today.txt`,
		Args:    needSome("BACKING:/PATH"),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withVolumes(c.Context(), func(v *offlineVolumes) error {
				return each(args, func(arg string) error { return a.cat(c.Context(), v, arg) })
			})
		},
	}
	a.addEndpointFlag(c.Flags())
	return c
}

func (a *app) cat(ctx context.Context, v *offlineVolumes, arg string) error {
	l, err := parseVolumePath(arg)
	if err != nil {
		return err
	}
	o, err := v.volume(ctx, l.backing, true)
	if err != nil {
		return err
	}
	return copyToStream(ctx, copytree.Volume{Offline: o}, l.path, a.ui.out)
}
