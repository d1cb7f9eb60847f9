package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMountOptionsAreTakenPassedOnOrRefused(t *testing.T) {
	for _, c := range []struct {
		lists []string
		want  mountOptions
	}{
		{nil, mountOptions{}},
		{[]string{""}, mountOptions{}},
		{[]string{"rw,nosuid,nodev,relatime,_netdev,nofail,x-systemd.automount,comment=x"}, mountOptions{}},
		{[]string{"ro", "debug"}, mountOptions{readOnly: true, debug: true}},
		{[]string{"default_permissions"}, mountOptions{defaultPermissions: true}},
		{[]string{"allow_other"}, mountOptions{allowOther: true, defaultPermissions: true}},
		{[]string{"noexec,noatime,suid"}, mountOptions{kernel: []string{"noexec", "noatime", "suid"}}},
		{[]string{"state_dir=/a b,pin_source=file:/x=y"}, mountOptions{stateDir: "/a b", pinSource: "file:/x=y"}},
		{[]string{"endpoint=https://keys.example:4599"}, mountOptions{remote: remote{endpoint: "https://keys.example:4599"}}},
		{[]string{"ca=/etc/ca.pem,profile=vault,key_wait=3s"}, mountOptions{remote: remote{ca: "/etc/ca.pem", profile: "vault", wait: 3 * time.Second}}},
		{[]string{`pin_source=cmd:a\,b\\c`}, mountOptions{pinSource: `cmd:a,b\c`}},
	} {
		got, err := parseMountOptions(c.lists)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, %v; want %+v", c.lists, got, err, c.want)
		}
	}
	for _, bad := range []string{"frobnicate", "ro=1", "state_dir=", "allow_other,nonsense", "suid=0", "comment"} {
		if _, err := parseMountOptions([]string{bad}); exitCode(err) != exitUsage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestHelperArgumentsBecomeThoseOfMount(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"/b /m", "mount /b /m"},
		{"/b /m -o rw,ro", "mount /b /m -o rw,ro"},
		{"/b /m -sfnv -o ro -t fuse.kmsfs", "mount /b /m -o ro"},
		{"-n /b /m -oro", "mount /b /m -o ro"},
		{"/b /m -f -N 4 -v", "mount /b /m"},
		{"/b /m -o", "mount /b /m -o "},
	} {
		if got := strings.Join(helperArgs(strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestMountHelperIsToldByItsNameOrItsArguments(t *testing.T) {
	for _, c := range []struct {
		argv string
		want bool
	}{
		{"/sbin/mount.fuse.kmsfs /b /m", true},
		{"kmsfs /b /m -o ro", true},
		{"kmsfs ./b m", true},
		{"kmsfs mount /b /m", false},
		{"kmsfs", false},
		{"kmsfs /b", false},
		{"kmsfs --state-dir /x status", false},
	} {
		if got := isMountHelper(strings.Fields(c.argv)); got != c.want {
			t.Errorf("%q: %v", c.argv, got)
		}
	}
}

func FuzzSplitOptionsLosesNothing(f *testing.F) {
	f.Add("ro,allow_other")
	f.Add(`a\,b,c\\,`)
	f.Fuzz(func(t *testing.T, list string) {
		opts := splitOptions(list)
		escaped := make([]string, len(opts))
		for i, o := range opts {
			escaped[i] = strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(o)
		}
		if again := splitOptions(strings.Join(escaped, ",")); !slices.Equal(again, opts) {
			t.Errorf("%q: %q, then %q", list, opts, again)
		}
	})
}
