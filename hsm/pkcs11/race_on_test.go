//go:build race

package pkcs11

// raceDetector tells that the race detector's own memory is part of the process's.
const raceDetector = true
