#ifndef KMSFS_PKCS11_SHIM_H
#define KMSFS_PKCS11_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* CK_ULONG is unsigned long on every platform with dlopen. */
typedef unsigned long ck_ulong;

/* A CK_FUNCTION_LIST of PKCS#11 2.x, its functions addressed by their place. */
typedef struct {
	unsigned char major, minor;
	void *fn[68];
} shim_functions;

/* Status and length or handle of a call. */
typedef struct {
	ck_ulong rv;
	ck_ulong value;
} shim_result;

/* Loads the module for the life of the process. On failure returns NULL and
 * leaves a message in err. */
shim_functions *shim_load(const char *path, char *err, size_t errlen);

ck_ulong shim_login(shim_functions *f, ck_ulong session, ck_ulong user, uint8_t *pin, ck_ulong pinlen);
ck_ulong shim_init_token(shim_functions *f, ck_ulong slot, uint8_t *pin, ck_ulong pinlen, uint8_t *label32);
ck_ulong shim_init_pin(shim_functions *f, ck_ulong session, uint8_t *pin, ck_ulong pinlen);
ck_ulong shim_random(shim_functions *f, ck_ulong session, uint8_t *out, ck_ulong n);

/* C_EncryptInit + C_Encrypt, or the decrypting pair, with AES-GCM, a 96-bit IV
 * and a 128-bit tag. A module that makes its own IV writes it to iv. */
shim_result shim_gcm(shim_functions *f, int decrypt, ck_ulong session, ck_ulong key, uint8_t *iv,
	uint8_t *aad, ck_ulong aadlen, uint8_t *in, ck_ulong inlen, uint8_t *out, ck_ulong outcap);

/* Derives an AES-256 session key. input is the two blocks to encrypt, or the
 * fixed input of SP 800-108. */
shim_result shim_derive_ecb(shim_functions *f, ck_ulong session, ck_ulong base, uint8_t *input, ck_ulong len);
shim_result shim_derive_sp800(shim_functions *f, ck_ulong session, ck_ulong base, uint8_t *input, ck_ulong len);

/* C_SignInit + C_Sign, or with decrypt C_DecryptInit + C_Decrypt. param holds no
 * pointers. */
shim_result shim_private(shim_functions *f, int decrypt, ck_ulong session, ck_ulong mech, uint8_t *param, ck_ulong paramlen,
	ck_ulong key, uint8_t *in, ck_ulong inlen, uint8_t *out, ck_ulong outcap);

/* ECDH without a KDF: derives n bytes as a session object, reads them to out and
 * destroys the object. */
shim_result shim_agree(shim_functions *f, ck_ulong session, ck_ulong base, uint8_t *point, ck_ulong pointlen,
	uint8_t *out, ck_ulong n);

#endif
