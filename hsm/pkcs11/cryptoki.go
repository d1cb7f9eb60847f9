package pkcs11

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// session, object and slot are the module's numbers. A number means something
// only within the module generation in which it was given out.
type (
	session uint
	object  uint
	slot    uint
)

// cryptoki is the part of PKCS#11 that this package uses, and the seam at which
// tests inject faults. Errors are [*callError].
type cryptoki interface {
	initialize(args string) error
	finalize() error
	library() (string, error)
	slots() ([]slot, error)
	tokenInfo(slot) (p11.TokenInfo, error)
	initToken(s slot, soPIN []byte, label [32]byte) error
	initPIN(s session, pin []byte) error

	openSession(slot) (session, error)
	closeSession(session) error
	login(s session, user uint, pin []byte) error
	sessionState(session) (uint, error)

	find(s session, template []*p11.Attribute) ([]object, error)
	attributes(s session, o object, template []*p11.Attribute) ([]*p11.Attribute, error)
	create(s session, template []*p11.Attribute) (object, error)
	generate(s session, mechanism uint, template []*p11.Attribute) (object, error)
	generatePair(s session, mechanism uint, public, private []*p11.Attribute) (publicKey, privateKey object, err error)
	copyObject(s session, o object, template []*p11.Attribute) (object, error)
	wrapKey(s session, mechanism uint, wrapping, key object) (int, error)
	unwrapKey(s session, m mechanism, wrapping object, wrapped []byte, template []*p11.Attribute) (object, error)
	destroy(s session, o object) error

	derive(s session, base object, how hsm.Derivation, salt [saltSize]byte) (object, error)
	encrypt(s session, key object, iv, aad, in, out []byte) (int, error)
	decrypt(s session, key object, iv, aad, in, out []byte) (int, error)
	random(s session, p []byte) error

	sign(s session, m mechanism, key object, in, out []byte) (int, error)
	decryptWith(s session, m mechanism, key object, in, out []byte) (int, error)
	agree(s session, key object, point, out []byte) error
}

// mechanism is a mechanism with its parameter, which holds no pointers.
type mechanism struct {
	id    uint
	param []byte
}
