package keysvc

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/google/uuid"
)

// newRecordID makes the id of a request or of its record: a UUID of version 4 (RFC
// 9562) that is unique and nothing more. It needn't be unpredictable, so its bits
// come from the runtime's generator, which asks the system only for its seed.
func newRecordID() string {
	var id uuid.UUID
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}
