package pkcs11

import (
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/kmsfs/kmsfs/hsm"
)

// native is cryptoki on a loaded module: the binding for what is rare, the shim
// for what carries secrets or is hot.
type native struct {
	ctx *p11.Ctx
	shim
}

// loadNative loads the module at path, which must exist.
func loadNative(path string) (*native, error) {
	s, err := loadShim(path)
	if err != nil {
		return nil, err
	}
	ctx := p11.New(path)
	if ctx == nil {
		return nil, errors.New("the module could not be loaded")
	}
	return &native{ctx: ctx, shim: s}, nil
}

func (n *native) initialize(args string) error {
	if args == "" {
		return wrapCall("C_Initialize", n.ctx.Initialize())
	}
	reserved := append([]byte(args), 0)
	pinned := cBytes(reserved)
	defer freeCBytes(pinned)
	return wrapCall("C_Initialize", n.ctx.Initialize(p11.InitializeWithReserved(pinned)))
}

func (n *native) finalize() error { return wrapCall("C_Finalize", n.ctx.Finalize()) }

func (n *native) library() (string, error) {
	info, err := n.ctx.GetInfo()
	if err != nil {
		return "", wrapCall("C_GetInfo", err)
	}
	return libraryName(info), nil
}

func (n *native) slots() ([]slot, error) {
	list, err := n.ctx.GetSlotList(true)
	out := make([]slot, len(list))
	for i, s := range list {
		out[i] = slot(s)
	}
	return out, wrapCall("C_GetSlotList", err)
}

func (n *native) tokenInfo(s slot) (p11.TokenInfo, error) {
	info, err := n.ctx.GetTokenInfo(uint(s))
	return info, wrapCall("C_GetTokenInfo", err)
}

func (n *native) initToken(s slot, soPIN []byte, label [32]byte) error {
	return callResult("C_InitToken", n.shim.initToken(uint(s), soPIN, label))
}

func (n *native) initPIN(s session, pin []byte) error {
	return callResult("C_InitPIN", n.shim.initPIN(uint(s), pin))
}

func (n *native) openSession(s slot) (session, error) {
	h, err := n.ctx.OpenSession(uint(s), p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	return session(h), wrapCall("C_OpenSession", err)
}

func (n *native) closeSession(s session) error {
	return wrapCall("C_CloseSession", n.ctx.CloseSession(p11.SessionHandle(s)))
}

func (n *native) login(s session, user uint, pin []byte) error {
	return callResult("C_Login", n.shim.login(uint(s), user, pin))
}

// sessionState is CKS_RW_USER_FUNCTIONS when the user is logged in.
func (n *native) sessionState(s session) (uint, error) {
	info, err := n.ctx.GetSessionInfo(p11.SessionHandle(s))
	return info.State, wrapCall("C_GetSessionInfo", err)
}

// find returns every object that matches. The search is always ended, else the
// session could never search again.
func (n *native) find(s session, template []*p11.Attribute) (found []object, err error) {
	h := p11.SessionHandle(s)
	if err := n.ctx.FindObjectsInit(h, template); err != nil {
		return nil, wrapCall("C_FindObjectsInit", err)
	}
	defer func() {
		if e := n.ctx.FindObjectsFinal(h); err == nil {
			err = wrapCall("C_FindObjectsFinal", e)
		}
	}()
	for {
		batch, _, err := n.ctx.FindObjects(h, 64)
		if err != nil || len(batch) == 0 {
			return found, wrapCall("C_FindObjects", err)
		}
		for _, o := range batch {
			found = append(found, object(o))
		}
	}
}

func (n *native) attributes(s session, o object, template []*p11.Attribute) ([]*p11.Attribute, error) {
	a, err := n.ctx.GetAttributeValue(p11.SessionHandle(s), p11.ObjectHandle(o), template)
	return a, wrapCall("C_GetAttributeValue", err)
}

func (n *native) create(s session, template []*p11.Attribute) (object, error) {
	o, err := n.ctx.CreateObject(p11.SessionHandle(s), template)
	return object(o), wrapCall("C_CreateObject", err)
}

func (n *native) generate(s session, mechanism uint, template []*p11.Attribute) (object, error) {
	mech := []*p11.Mechanism{p11.NewMechanism(mechanism, nil)}
	o, err := n.ctx.GenerateKey(p11.SessionHandle(s), mech, template)
	return object(o), wrapCall("C_GenerateKey", err)
}

func (n *native) generatePair(s session, mechanism uint, public, private []*p11.Attribute) (publicKey, privateKey object, err error) {
	mech := []*p11.Mechanism{p11.NewMechanism(mechanism, nil)}
	a, b, err := n.ctx.GenerateKeyPair(p11.SessionHandle(s), mech, public, private)
	return object(a), object(b), wrapCall("C_GenerateKeyPair", err)
}

func (n *native) copyObject(s session, o object, template []*p11.Attribute) (object, error) {
	c, err := n.ctx.CopyObject(p11.SessionHandle(s), p11.ObjectHandle(o), template)
	return object(c), wrapCall("C_CopyObject", err)
}

// wrapKey asks the module to hand out key, to learn whether it refuses, or how long
// the key is. The result is dropped.
func (n *native) wrapKey(s session, mechanism uint, wrapping, key object) (int, error) {
	mech := []*p11.Mechanism{p11.NewMechanism(mechanism, nil)}
	out, err := n.ctx.WrapKey(p11.SessionHandle(s), mech, p11.ObjectHandle(wrapping), p11.ObjectHandle(key))
	clear(out)
	return len(out), wrapCall("C_WrapKey", err)
}

func (n *native) unwrapKey(s session, m mechanism, wrapping object, wrapped []byte, template []*p11.Attribute) (object, error) {
	if len(wrapped) == 0 {
		return 0, callResult(fnUnwrap, p11.CKR_WRAPPED_KEY_LEN_RANGE)
	}
	var param any
	if m.param != nil {
		param = m.param
	}
	mech := []*p11.Mechanism{p11.NewMechanism(m.id, param)}
	o, err := n.ctx.UnwrapKey(p11.SessionHandle(s), mech, p11.ObjectHandle(wrapping), wrapped, template)
	return object(o), wrapCall(fnUnwrap, err)
}

func (n *native) destroy(s session, o object) error {
	return wrapCall("C_DestroyObject", n.ctx.DestroyObject(p11.SessionHandle(s), p11.ObjectHandle(o)))
}

func (n *native) derive(s session, base object, how hsm.Derivation, salt [saltSize]byte) (object, error) {
	var key, rv uint
	switch how {
	case hsm.DerivationSP800108:
		key, rv = n.deriveSP800(uint(s), uint(base), sp800Input(salt))
	case hsm.DerivationAESECB:
		key, rv = n.deriveECB(uint(s), uint(base), ecbInput(salt))
	default:
		rv = p11.CKR_MECHANISM_INVALID
	}
	return object(key), callResult("C_DeriveKey", rv)
}

func (n *native) encrypt(s session, key object, iv, aad, in, out []byte) (int, error) {
	if err := checkGCM(iv, aad, out, len(in)+tagSize); err != nil {
		return 0, err
	}
	w, rv := n.gcm(false, uint(s), uint(key), iv, aad, in, out)
	return int(w), callResult(fnEncrypt, rv)
}

// decrypt needs out to be as long as in: SoftHSM refuses a buffer that only fits
// the plaintext, and then keeps the operation open for ever.
func (n *native) decrypt(s session, key object, iv, aad, in, out []byte) (int, error) {
	if err := checkGCM(iv, aad, out, len(in)); err != nil {
		return 0, err
	}
	w, rv := n.gcm(true, uint(s), uint(key), iv, aad, in, out)
	return int(w), callResult(fnDecrypt, rv)
}

func (n *native) random(s session, p []byte) error {
	return callResult("C_GenerateRandom", n.shim.random(uint(s), p))
}

func (n *native) sign(s session, m mechanism, key object, in, out []byte) (int, error) {
	w, rv := n.private(false, uint(s), m, uint(key), in, out)
	return int(w), callResult("C_Sign", rv)
}

func (n *native) decryptWith(s session, m mechanism, key object, in, out []byte) (int, error) {
	w, rv := n.private(true, uint(s), m, uint(key), in, out)
	return int(w), callResult(fnDecrypt, rv)
}

// agree fills out with the shared secret.
func (n *native) agree(s session, key object, point, out []byte) error {
	w, rv := n.shim.agree(uint(s), uint(key), point, out)
	if rv == p11.CKR_OK && int(w) != len(out) {
		return fmt.Errorf("the shared secret has %d bytes, want %d", w, len(out))
	}
	return callResult("C_DeriveKey", rv)
}

// checkGCM stops what modules accept but must never get: an IV that isn't 96
// bits (SoftHSM takes an empty one for zeros), an empty aad (a crash in some
// versions) and short output buffers.
func checkGCM(iv, aad, out []byte, need int) error {
	if len(iv) != ivSize || len(aad) == 0 || len(out) < need {
		return &callError{function: "AES-GCM", rv: p11.CKR_ARGUMENTS_BAD}
	}
	return nil
}
