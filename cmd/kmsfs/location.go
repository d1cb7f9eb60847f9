package main

import (
	"os"
	"path/filepath"
	"strings"
)

// location is where an argument of cat, cp or ls leads: into a volume, or on this machine.
type location struct {
	backing string // backing directory; "" for a path on this machine
	path    string // in a volume: from its root, with a leading slash
}

// local reports whether l is a path on this machine.
func (l location) local() bool { return l.backing == "" }

// stdio reports whether l is "-": standard input or output.
func (l location) stdio() bool { return l.local() && l.path == "-" }

// String is the argument again.
func (l location) String() string {
	if l.local() {
		return l.path
	}
	return l.backing + ":" + l.path
}

// splitLocation splits BACKING:/path in each way in which it can be: directories may have ":/" in
// their names too. The shortest backing directory comes first.
func splitLocation(arg string) []location {
	var ways []location
	for i := 1; i < len(arg)-1; i++ {
		if arg[i] == ':' && arg[i+1] == '/' {
			ways = append(ways, location{arg[:i], arg[i+1:]})
		}
	}
	return ways
}

// parseLocation takes an argument for a path in a volume when a volume is where it says, and else for
// a path on this machine.
func parseLocation(arg string) (location, error) {
	ways := splitLocation(arg)
	for _, l := range ways {
		if _, err := os.Lstat(filepath.Join(l.backing, "kmsfs.volume")); err == nil {
			return l, nil
		}
	}
	if len(ways) == 0 {
		return location{path: arg}, nil
	}
	if _, err := os.Lstat(arg); err == nil {
		return location{path: arg}, nil
	}
	return location{}, failf(exitNotFound, "write BACKING:/PATH with the backing directory of a volume, or ./NAME for a file here",
		"%s: there is no volume in %s", arg, ways[0].backing)
}

// parseVolumePath is parseLocation for an argument that must lead into a volume. A backing directory
// alone stands for the volume's root.
func parseVolumePath(arg string) (location, error) {
	l, err := parseLocation(arg)
	if err != nil || !l.local() {
		return l, err
	}
	backing := strings.TrimSuffix(arg, ":")
	if _, err := os.Lstat(filepath.Join(backing, "kmsfs.volume")); err == nil {
		return location{backing, "/"}, nil
	}
	return location{}, failf(exitUsage, "write BACKING:/PATH with the backing directory of a volume",
		"%s is no path in a volume", arg)
}
