package main

import (
	"os"
	"slices"
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
	Keys           []string  `json:"keyArns"` // by the index in key slots; "" for one that has left the volume
	CurrentKey     string    `json:"currentKeyArn"`
	Recovery       string    `json:"recovery,omitempty"`       // a key ARN, or RSA
	RecoverySHA256 string    `json:"recoverySha256,omitempty"` // of an RSA key's SubjectPublicKeyInfo
	PlaintextNames bool      `json:"plaintextNames"`
	Compress       bool      `json:"compress"`
	Created        time.Time `json:"created"`
}

func volumeJSON(v fs.VolumeInfo) volumeView {
	return volumeView{
		ID: v.ID, Backing: v.Backing, Keys: v.KeyARNs, CurrentKey: v.CurrentKeyARN, Recovery: v.Recovery, RecoverySHA256: v.RecoverySHA256,
		PlaintextNames: v.PlaintextNames, Compress: v.Compress, Created: v.Created,
	}
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

// leavingKeys lists the keys that a rewrap has not finished to replace.
func leavingKeys(v fs.VolumeInfo) []string {
	var out []string
	for _, arn := range v.KeyARNs {
		if arn != "" && arn != v.CurrentKeyARN && !slices.Contains(out, arn) {
			out = append(out, arn)
		}
	}
	return out
}

// recoveryName describes who can recover the volume.
func recoveryName(v fs.VolumeInfo) string {
	if v.RecoverySHA256 == "" {
		return v.Recovery
	}
	return v.Recovery + " key with SHA-256 " + v.RecoverySHA256
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
		"Key", v.CurrentKeyARN,
		"Leaving", strings.Join(leavingKeys(v), ", "),
		"Recovery", recoveryName(v),
		"Names", names,
		"Compressed", compress,
		"Created", localTime(v.Created))
}
