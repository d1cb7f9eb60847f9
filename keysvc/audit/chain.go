package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
)

// A line is the event's JSON object with one member more at its end:
//
//	{...,"chain":{"seq":N,"prev":"<64 hex>","hash":"<64 hex>"}}
//
// As the hash has a fixed length and covers every byte before it, a line can be
// checked without knowing how its JSON was formatted.
const (
	chainOpen  = `,"chain":{"seq":`
	prevOpen   = `,"prev":"`
	hashOpen   = `","hash":"`
	lineClose  = `"}}`
	hexHash    = 2 * sha256.Size
	hashSuffix = len(hashOpen) + hexHash + len(lineClose)
)

// tail is what a new record continues from.
type tail struct {
	sequence uint64
	hash     [hexHash]byte
}

// genesis is the tail of an empty trail.
func genesis() tail {
	var t tail
	copy(t.hash[:], bytes.Repeat([]byte{'0'}, hexHash))
	return t
}

// seal appends the event's line, with its newline, to buf and returns the new
// tail. event is a JSON object.
func (t tail) seal(buf, event []byte) ([]byte, tail) {
	start := len(buf)
	buf = append(buf, event[:len(event)-1]...)
	buf = append(buf, chainOpen...)
	buf = strconv.AppendUint(buf, t.sequence+1, 10)
	buf = append(buf, prevOpen...)
	buf = append(buf, t.hash[:]...)
	next := tail{sequence: t.sequence + 1, hash: hexSum(buf[start:])}
	buf = append(buf, hashOpen...)
	buf = append(buf, next.hash[:]...)
	buf = append(buf, lineClose...)
	return append(buf, '\n'), next
}

func hexSum(p []byte) (out [hexHash]byte) {
	sum := sha256.Sum256(p)
	hex.Encode(out[:], sum[:])
	return out
}

// link is the chain part of a line whose own hash is right.
type link struct {
	tail
	previous [hexHash]byte
}

// parseLink reads and checks the end of a line (without newline). ok is false
// if it isn't the end of a record or its hash doesn't match.
func parseLink(line []byte) (l link, ok bool) {
	body, hash, ok := splitHash(line)
	if !ok || hexSum(body) != hash {
		return link{}, false
	}
	at := bytes.LastIndex(body, []byte(chainOpen))
	if at < 0 {
		return link{}, false
	}
	number, previous, found := bytes.Cut(body[at+len(chainOpen):], []byte(prevOpen))
	sequence, err := strconv.ParseUint(string(number), 10, 64)
	if !found || err != nil || len(previous) != hexHash {
		return link{}, false
	}
	l.sequence, l.hash = sequence, hash
	copy(l.previous[:], previous)
	return l, true
}

func splitHash(line []byte) (body []byte, hash [hexHash]byte, ok bool) {
	cut := len(line) - hashSuffix
	if cut < 0 || !bytes.HasPrefix(line[cut:], []byte(hashOpen)) || !bytes.HasSuffix(line, []byte(lineClose)) {
		return nil, hash, false
	}
	copy(hash[:], line[cut+len(hashOpen):])
	return line[:cut], hash, true
}

// ParseRecord reads one line of a trail (without its newline). It doesn't check
// the hash; [Verify] does.
func ParseRecord(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, &Error{Op: "parse", Kind: KindDamaged, Err: err}
	}
	r.Line = append(json.RawMessage(nil), line...)
	return r, nil
}
