package audit

import (
	"errors"
	"fmt"
	"io"
)

// Report is what Verify has found.
type Report struct {
	Records  uint64    // complete lines read
	Problems []Problem // in the order of the file; the first ones, if there are many
	More     uint64    // problems that Problems has no room for
	// Unfinished is the number of bytes behind the last complete line: a record
	// that is being written now, or that a crash cut short.
	Unfinished int
}

// Intact tells whether the records form a chain from first to last.
func (r *Report) Intact() bool { return len(r.Problems) == 0 }

// Problem is a place where the chain is broken.
type Problem struct {
	Line   uint64 // counts from 1
	Reason string
}

const maxProblems = 100

// Verify reads a whole trail and checks its chain. The error says that the file
// couldn't be read; broken chains are in the report.
func Verify(path string) (*Report, error) {
	r, err := OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	report, err := verifyLines(&r.lines)
	if err != nil {
		return nil, r.fail(err)
	}
	return report, nil
}

func verifyLines(in *lines) (*Report, error) {
	var report Report
	expected := genesis()
	for {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			report.Unfinished = len(in.partial)
			return &report, nil
		}
		if err != nil {
			return nil, err
		}
		report.Records++
		expected = report.check(line, expected)
	}
}

// check compares a line with the one before and returns what the next one must
// continue from.
func (r *Report) check(line []byte, before tail) tail {
	l, ok := parseLink(line)
	if !ok {
		r.add("the record was changed or is no record: its hash doesn't match")
		// Continue from what the record claims, so that one edit is one problem.
		return claimed(line, before)
	}
	if _, err := ParseRecord(line); err != nil {
		r.add("the record is no JSON object")
	}
	switch {
	case l.sequence != before.sequence+1:
		r.add(fmt.Sprintf("record %d is followed by record %d: records were removed, added or moved", before.sequence, l.sequence))
	case l.previous != before.hash:
		r.add("the record doesn't continue the one before: that one was replaced, or records were removed or moved")
	}
	return l.tail
}

// claimed is the tail that a changed line names itself.
func claimed(line []byte, before tail) tail {
	next := tail{sequence: before.sequence + 1, hash: before.hash}
	if _, hash, ok := splitHash(line); ok {
		next.hash = hash
	}
	return next
}

func (r *Report) add(reason string) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, Problem{Line: r.Records, Reason: reason})
}
