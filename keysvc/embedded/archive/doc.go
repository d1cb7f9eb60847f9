// Package archive is the file format of a backup of a state directory: a tar
// archive (POSIX.1-1988 ustar, or pax where names need it) that begins with a
// manifest.
//
//	kmsfs-state.json   {"version": 1, "created": TIME, "files": [{"name", "size", "sha256"}, ...]}
//	NAME               the files, in the order of the manifest
//
// Any tar program can look into one. [Extract] takes nothing that the manifest
// doesn't announce, so a backup that was cut off or damaged is refused as a whole.
//
// Trust: an archive is untrusted input: it can't write outside the directory that it
// is extracted to, nor anything but regular files. The hashes find damage and no
// forgery, since they are in the archive themselves.
//
// Concurrency: the functions share nothing.
//
// Not here: what belongs into a backup, see keysvc/embedded; encryption.
package archive
