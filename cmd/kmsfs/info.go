package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kmsfs/kmsfs/fs"
)

func newInfoCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "info PATH",
		Short: "show what a volume or an encrypted file tells without any key",
		Long: `PATH is a backing directory, or an encrypted file in one. Nothing is decrypted and the key service
is not asked: this is what whoever holds the disk can see.`,
		Example: `  kmsfs info ~/vault
  kmsfs info --json ~/vault/R2x0bmFtZQ`,
		Args: needArgs("PATH"),
		RunE: func(_ *cobra.Command, args []string) error {
			stat, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			if stat.IsDir() {
				return a.infoVolume(args[0])
			}
			return a.infoFile(args[0])
		},
	}
}

// volumeView is a volume in JSON.
type volumeView struct {
	ID             string    `json:"volume"`
	Backing        string    `json:"backing"`
	Keys           []string  `json:"keyArns"`
	PlaintextNames bool      `json:"plaintextNames"`
	Compress       bool      `json:"compress"`
	Created        time.Time `json:"created"`
}

func volumeJSON(v fs.VolumeInfo) volumeView {
	return volumeView{v.ID, v.Backing, v.KeyARNs, v.PlaintextNames, v.Compress, v.Created}
}

func (a *app) infoVolume(dir string) error {
	v, err := fs.ReadVolumeInfo(dir)
	if err != nil {
		return err
	}
	if a.json {
		return a.ui.JSON(volumeJSON(v))
	}
	return a.printVolume(v)
}

func (a *app) printVolume(v fs.VolumeInfo) error {
	names := "encrypted"
	if v.PlaintextNames {
		names = "in plaintext"
	}
	compress := "no"
	if v.Compress {
		compress = "yes"
	}
	return a.ui.Fields(
		"Volume", v.ID,
		"Backing", v.Backing,
		"Key", strings.Join(v.KeyARNs, ", "),
		"Names", names,
		"Compressed", compress,
		"Created", localTime(v.Created))
}
