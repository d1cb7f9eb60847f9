package integration

import (
	"maps"
	"slices"
	"testing"
)

// attackCase is one way of making an attack.
type attackCase struct {
	name string
	run  func(t *testing.T)
}

// attacks are the rows of docs/threat-model.md: what the store's owner may do. Each case performs it on
// a real backing directory and tells what the mount then answers.
func attacks() map[string][]attackCase {
	rows := map[string][]attackCase{
		"swap-files": {
			{"swapped", attackSwap("a", "b", wantFilesSwapped)}, {"between directories", attackSwap("a", "d/a", wantSwappedBetweenDirectories)},
			{"renamed", attackRenamedFile}, {"renamed to a name of another directory", attackNameOfAnotherDirectory},
			{"moved to another directory", attackFileMoved}, {"its old name", attackOldNameOfFile},
		},
		"move-dir": {
			{"swapped", attackSwap("x", "y", wantDirectoriesSwapped)}, {"its old name", attackOldNameOfDirectory},
			{"into a readable directory", attackMovedIntoReadable},
		},
		"dirid-poison": {{"swapped identities", attackSwappedIdentities}, {"copied", attackCopiedDirectory}},
		"dup-file": {
			{"copied over another", attackFileCopiedOver}, {"content of another", attackContentOfAnother},
			{"removed link", attackRemovedLink}, {"link replaced by a symlink", attackLinkReplacedBySymlink},
			{"vacated path", attackVacatedPath}, {"known inode", attackNameOfKnownInode}, {"seen first", attackNameSeenFirst},
		},
		"mix-keys":      {{"of another volume", attackFileOfAnotherVolume}, {"slots of another file", attackForeignSlots}},
		"config-tamper": {{"edited volume file", attackEditedVolumeFile}},
		"xattr":         {{"swapped", attackAttributes}},
		"symlink":       {{"swapped", attackSwap("l", "m", wantSymlinksSwapped)}},
		"rename-log":    {{"edited", attackRenameLog}},
		"mode-tamper":   {{"accepted", attackModes}},
		"oracle":        {{"one error", attackOracle}},
		"nonce-replay":  {{"rolled back and written again", attackNonces}},
		"parse-bombs":   {{"huge and deep", attackBombs}},
	}
	for row, cases := range ledgerAttacks() {
		rows[row] = append(rows[row], cases...)
	}
	for row := range contentAttacks {
		rows[row] = append(rows[row], attackCase{"content", attackContent(row)})
	}
	return rows
}

func TestAttack(t *testing.T) {
	rows := attacks()
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		t.Run(row, func(t *testing.T) {
			for _, c := range rows[row] {
				t.Run(c.name, c.run)
			}
		})
	}
}
