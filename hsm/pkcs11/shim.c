#include "registers.h"
#include "shim.h"

#include <dlfcn.h>
#include <stdio.h>

/* Places in CK_FUNCTION_LIST. */
enum {
	FN_INIT_TOKEN = 9,
	FN_INIT_PIN = 10,
	FN_LOGIN = 18,
	FN_DESTROY_OBJECT = 22,
	FN_GET_ATTRIBUTE_VALUE = 24,
	FN_ENCRYPT_INIT = 29,
	FN_ENCRYPT = 30,
	FN_DECRYPT_INIT = 33,
	FN_DECRYPT = 34,
	FN_SIGN_INIT = 42,
	FN_SIGN = 43,
	FN_DERIVE_KEY = 62,
	FN_GENERATE_RANDOM = 64,
};

typedef struct { ck_ulong mechanism; void *param; ck_ulong len; } mechanism;
typedef struct { ck_ulong type; void *value; ck_ulong len; } attribute;
typedef struct { uint8_t *iv; ck_ulong ivlen, ivbits; uint8_t *aad; ck_ulong aadlen, tagbits; } gcm_params;
typedef struct { uint8_t *data; ck_ulong len; } string_data;
typedef struct { ck_ulong type; void *value; ck_ulong len; } prf_data;
typedef struct { uint8_t little_endian; ck_ulong width; } counter_format;
typedef struct { ck_ulong kdf, sharedlen; uint8_t *shared; ck_ulong pointlen; uint8_t *point; } ecdh_params;
typedef struct { ck_ulong prf, count; prf_data *data; ck_ulong extra; void *extra_keys; } kdf_params;

typedef ck_ulong (*get_list_fn)(shim_functions **);
typedef ck_ulong (*login_fn)(ck_ulong, ck_ulong, uint8_t *, ck_ulong);
typedef ck_ulong (*init_token_fn)(ck_ulong, uint8_t *, ck_ulong, uint8_t *);
typedef ck_ulong (*bytes_fn)(ck_ulong, uint8_t *, ck_ulong);
typedef ck_ulong (*crypt_init_fn)(ck_ulong, mechanism *, ck_ulong);
typedef ck_ulong (*crypt_fn)(ck_ulong, uint8_t *, ck_ulong, uint8_t *, ck_ulong *);
typedef ck_ulong (*object_fn)(ck_ulong, ck_ulong);
typedef ck_ulong (*attributes_fn)(ck_ulong, ck_ulong, attribute *, ck_ulong);
typedef ck_ulong (*derive_fn)(ck_ulong, mechanism *, ck_ulong, attribute *, ck_ulong, ck_ulong *);

shim_functions *shim_load(const char *path, char *err, size_t errlen) {
	shim_functions *f = NULL;
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (lib == NULL) {
		snprintf(err, errlen, "%s", dlerror());
		return NULL;
	}
	get_list_fn get = (get_list_fn)dlsym(lib, "C_GetFunctionList");
	if (get == NULL || get(&f) != 0 || f == NULL) {
		snprintf(err, errlen, "%s is not a PKCS#11 module (no usable C_GetFunctionList)", path);
		return NULL;
	}
	return f;
}

ck_ulong shim_login(shim_functions *f, ck_ulong session, ck_ulong user, uint8_t *pin, ck_ulong pinlen) {
	ck_ulong rv = ((login_fn)f->fn[FN_LOGIN])(session, user, pin, pinlen);
	clear_vector_registers();
	return rv;
}

ck_ulong shim_init_token(shim_functions *f, ck_ulong slot, uint8_t *pin, ck_ulong pinlen, uint8_t *label32) {
	return ((init_token_fn)f->fn[FN_INIT_TOKEN])(slot, pin, pinlen, label32);
}

ck_ulong shim_init_pin(shim_functions *f, ck_ulong session, uint8_t *pin, ck_ulong pinlen) {
	return ((bytes_fn)f->fn[FN_INIT_PIN])(session, pin, pinlen);
}

ck_ulong shim_random(shim_functions *f, ck_ulong session, uint8_t *out, ck_ulong n) {
	ck_ulong rv = ((bytes_fn)f->fn[FN_GENERATE_RANDOM])(session, out, n);
	clear_vector_registers();
	return rv;
}

shim_result shim_gcm(shim_functions *f, int decrypt, ck_ulong session, ck_ulong key, uint8_t *iv,
	uint8_t *aad, ck_ulong aadlen, uint8_t *in, ck_ulong inlen, uint8_t *out, ck_ulong outcap) {
	gcm_params params = {iv, 12, 96, aad, aadlen, 128};
	mechanism mech = {0x1087 /* CKM_AES_GCM */, &params, sizeof params};
	shim_result r = {0, outcap};
	r.rv = ((crypt_init_fn)f->fn[decrypt ? FN_DECRYPT_INIT : FN_ENCRYPT_INIT])(session, &mech, key);
	if (r.rv == 0)
		r.rv = ((crypt_fn)f->fn[decrypt ? FN_DECRYPT : FN_ENCRYPT])(session, in, inlen, out, &r.value);
	clear_vector_registers();
	return r;
}

static shim_result derive(shim_functions *f, ck_ulong session, ck_ulong base, mechanism *mech) {
	uint8_t yes = 1, no = 0;
	ck_ulong secret = 4 /* CKO_SECRET_KEY */, aes = 0x1f /* CKK_AES */, len = 32;
	attribute tmpl[] = {
		{0x000, &secret, sizeof secret}, /* CKA_CLASS */
		{0x100, &aes, sizeof aes},       /* CKA_KEY_TYPE */
		{0x161, &len, sizeof len},       /* CKA_VALUE_LEN */
		{0x001, &no, 1},                 /* CKA_TOKEN */
		{0x002, &yes, 1},                /* CKA_PRIVATE */
		{0x103, &yes, 1},                /* CKA_SENSITIVE */
		{0x162, &no, 1},                 /* CKA_EXTRACTABLE */
		{0x104, &yes, 1},                /* CKA_ENCRYPT */
		{0x105, &yes, 1},                /* CKA_DECRYPT */
		{0x106, &no, 1},                 /* CKA_WRAP */
		{0x107, &no, 1},                 /* CKA_UNWRAP */
	};
	shim_result r = {0, 0};
	r.rv = ((derive_fn)f->fn[FN_DERIVE_KEY])(session, mech, base, tmpl, sizeof tmpl / sizeof *tmpl, &r.value);
	return r;
}

shim_result shim_derive_ecb(shim_functions *f, ck_ulong session, ck_ulong base, uint8_t *input, ck_ulong len) {
	string_data params = {input, len};
	mechanism mech = {0x1104 /* CKM_AES_ECB_ENCRYPT_DATA */, &params, sizeof params};
	return derive(f, session, base, &mech);
}

shim_result shim_derive_sp800(shim_functions *f, ck_ulong session, ck_ulong base, uint8_t *input, ck_ulong len) {
	counter_format counter = {0, 32};
	prf_data data[] = {
		{1 /* iteration variable */, &counter, sizeof counter},
		{4 /* byte array */, input, len},
	};
	kdf_params params = {0x251 /* CKM_SHA256_HMAC */, 2, data, 0, NULL};
	mechanism mech = {0x3ac /* CKM_SP800_108_COUNTER_KDF */, &params, sizeof params};
	return derive(f, session, base, &mech);
}

shim_result shim_private(shim_functions *f, int decrypt, ck_ulong session, ck_ulong id, uint8_t *param, ck_ulong paramlen,
	ck_ulong key, uint8_t *in, ck_ulong inlen, uint8_t *out, ck_ulong outcap) {
	mechanism mech = {id, param, paramlen};
	shim_result r = {0, outcap};
	r.rv = ((crypt_init_fn)f->fn[decrypt ? FN_DECRYPT_INIT : FN_SIGN_INIT])(session, &mech, key);
	if (r.rv == 0)
		r.rv = ((crypt_fn)f->fn[decrypt ? FN_DECRYPT : FN_SIGN])(session, in, inlen, out, &r.value);
	clear_vector_registers();
	return r;
}

shim_result shim_agree(shim_functions *f, ck_ulong session, ck_ulong base, uint8_t *point, ck_ulong pointlen,
	uint8_t *out, ck_ulong n) {
	uint8_t yes = 1, no = 0;
	ck_ulong secret = 4 /* CKO_SECRET_KEY */, generic = 0x10 /* CKK_GENERIC_SECRET */, key = 0;
	attribute tmpl[] = {
		{0x000, &secret, sizeof secret},   /* CKA_CLASS */
		{0x100, &generic, sizeof generic}, /* CKA_KEY_TYPE */
		{0x161, &n, sizeof n},             /* CKA_VALUE_LEN */
		{0x001, &no, 1},                   /* CKA_TOKEN */
		{0x002, &yes, 1},                  /* CKA_PRIVATE */
		{0x103, &no, 1},                   /* CKA_SENSITIVE */
		{0x162, &yes, 1},                  /* CKA_EXTRACTABLE */
	};
	ecdh_params params = {1 /* CKD_NULL */, 0, NULL, pointlen, point};
	mechanism mech = {0x1050 /* CKM_ECDH1_DERIVE */, &params, sizeof params};
	attribute value = {0x011 /* CKA_VALUE */, out, n};
	shim_result r = {0, 0};
	r.rv = ((derive_fn)f->fn[FN_DERIVE_KEY])(session, &mech, base, tmpl, sizeof tmpl / sizeof *tmpl, &key);
	if (r.rv == 0) {
		r.rv = ((attributes_fn)f->fn[FN_GET_ATTRIBUTE_VALUE])(session, key, &value, 1);
		r.value = value.len;
		((object_fn)f->fn[FN_DESTROY_OBJECT])(session, key);
	}
	clear_vector_registers();
	return r;
}
