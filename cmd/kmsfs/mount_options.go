package main

import (
	"strings"
	"time"
)

// mountOptions is what -o says.
type mountOptions struct {
	allowOther, defaultPermissions, readOnly, debug, noLedger bool

	stateDir, pinSource string   // as the flags of the same names, for fstab
	remote              remote   // endpoint, ca, profile
	kernel              []string // passed on: noexec, noatime, ...
}

// kernelOptions are the mount flags that the kernel or fusermount3 takes.
var kernelOptions = map[string]bool{
	"suid": true, "dev": true, "noexec": true, "noatime": true, "sync": true, "dirsync": true,
}

// idleOptions need nothing done: they name what holds anyway, or are meant for mount(8) and systemd.
var idleOptions = map[string]bool{
	"": true, "rw": true, "defaults": true, "auto": true, "noauto": true, "user": true, "users": true,
	"nouser": true, "owner": true, "group": true, "_netdev": true, "nofail": true,
	"nosuid": true, "nodev": true, "exec": true, "async": true, "atime": true, "relatime": true, "norelatime": true,
	"diratime": true, "nodiratime": true, "strictatime": true, "nostrictatime": true,
}

// parseMountOptions reads the values of every -o, each a list with commas. A comma inside a value is
// written \, as mount(8) does.
func parseMountOptions(lists []string) (mountOptions, error) {
	var o mountOptions
	for _, list := range lists {
		for _, opt := range splitOptions(list) {
			if err := o.set(opt); err != nil {
				return o, err
			}
		}
	}
	// Without the kernel's own permission check, allow_other would let every user read every file:
	// the daemon opens the backing files with its own rights.
	o.defaultPermissions = o.defaultPermissions || o.allowOther
	return o, nil
}

// splitOptions splits at commas that no backslash precedes.
func splitOptions(list string) []string {
	var opts []string
	var cur strings.Builder
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] == '\\' && i+1 < len(list) && (list[i+1] == ',' || list[i+1] == '\\'):
			i++
			cur.WriteByte(list[i])
		case list[i] == ',':
			opts = append(opts, cur.String())
			cur.Reset()
		default:
			cur.WriteByte(list[i])
		}
	}
	return append(opts, cur.String())
}

// set takes over one option.
func (o *mountOptions) set(opt string) error {
	name, value, hasValue := strings.Cut(opt, "=")
	switch {
	case opt == "allow_other":
		o.allowOther = true
	case opt == "default_permissions":
		o.defaultPermissions = true
	case opt == "ro":
		o.readOnly = true
	case opt == "debug":
		o.debug = true
	case opt == "ledger":
		o.noLedger = false
	case opt == "noledger":
		o.noLedger = true
	case name == "state_dir" && value != "":
		o.stateDir = value
	case name == "pin_source" && value != "":
		o.pinSource = value
	case name == "endpoint" && value != "":
		o.remote.endpoint = value
	case name == "ca" && value != "":
		o.remote.ca = value
	case name == "profile" && value != "":
		o.remote.profile = value
	case name == "key_wait":
		return o.setKeyWait(value)
	case kernelOptions[opt]:
		o.kernel = append(o.kernel, opt)
	case idleOptions[opt], strings.HasPrefix(opt, "x-"), name == "comment" && hasValue:
	default:
		return failf(exitUsage, "known: allow_other, default_permissions, ro, debug, noledger, state_dir=DIR, pin_source=SOURCE, endpoint=URL, ca=FILE, profile=NAME, key_wait=SECONDS, and nosuid, nodev, noexec, noatime and the like",
			"unknown mount option %q", opt)
	}
	return nil
}

// longestWait is what one call to the key service takes at most in any case.
const longestWait = 15 * time.Second

// setKeyWait takes a duration of seconds.
func (o *mountOptions) setKeyWait(value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 || d > longestWait {
		return failf(exitUsage, "such as key_wait=5s", "key_wait=%s is no time up to %v", value, longestWait)
	}
	o.remote.wait = d
	return nil
}
