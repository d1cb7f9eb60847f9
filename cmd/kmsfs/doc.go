// Command kmsfs mounts directories in which every file has its own data key, and administers the
// key service that wraps those keys.
//
// Reading order: main.go (entry points and exit), root.go (the command tree and its global flags),
// then one file per command: init.go, mount.go (with mount_options.go, mount8.go, spawn.go,
// daemon.go), umount.go, status.go, info.go, key.go and its siblings, alias.go, grant.go, audit.go,
// lab.go, serve.go (with listen.go), principal.go. keyservice.go opens the key service that they work
// on: the embedded one or, with --endpoint (endpoint.go), a remote one. ui.go is the only file that
// writes to the terminal; errors.go decides exit codes and hints. Package control is the
// socket between a mount's daemon and the other commands.
//
// Trust: the command runs with the rights of its user, who owns the state directory. A daemon
// turns off core dumps and ptrace before it holds a key.
//
// Concurrency: commands are sequential. A daemon serves its control socket and signals on
// goroutines that share only the *fs.Server, which is safe for that.
//
// Not here: keys and policy (keysvc), the filesystem (fs), formats (envelope).
package main
