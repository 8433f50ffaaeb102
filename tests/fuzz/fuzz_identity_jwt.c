/* SPDX-License-Identifier: Apache-2.0 */
/* A stranger's ID token, against a set of keys, and a stranger's set of keys: no crash, and nothing is taken that nobody
 * signed. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/identity/jwt.h"
#include "lib/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char set[] =
	"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e1\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
	"\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},{\"kty\":\"RSA\",\"kid\":\"r1\",\"use\":\"sig\",\"e\":\"AQAB\",\"n\":\""
	"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs"
	"D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtd"
	"VMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}]}";

/* header as it is, a payload that has all that is wanted, the rest as the signature */
static void as_header(const uint8_t *data, size_t size, const json_t *keys, const struct jwt_expect *expect)
{
	static const char payload[] = "{\"iss\":\"i\",\"aud\":\"a\",\"sub\":\"s\",\"exp\":2000,\"iat\":1000,\"nonce\":\"n\"}";
	char *text = malloc(size * 2 + 512), why[160];
	size_t head = size < 60 ? size / 2 : 30, n;
	json_t *claims = NULL;

	n = base64url_encode(data, head, text);
	text[n++] = '.';
	n += base64url_encode(payload, sizeof(payload) - 1, text + n);
	text[n++] = '.';
	base64url_encode(data + head, size - head, text + n);
	if (!jwt_verify(&claims, text, keys, expect, why))
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char token[] = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImUxIn0.eyJpc3MiOiJpIn0.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"
				    "pmWQxfKTUJqPP3-Kg6NU1Q";
	static json_t *keys;
	struct jwt_expect expect = { .issuer = "i", .audience = "a", .nonce = "n", .now = 1500, .skew_s = 60 };
	char *text = malloc(size + 1), why[160];
	json_t *claims = NULL, *strange;

	if (!keys)
		keys = json_loads(set, 0, NULL);
	if (!text || !keys)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	if (!jwt_verify(&claims, text, keys, &expect, why))
		abort();
	strange = json_loadb(text, size, 0, NULL);
	if (!jwt_verify(&claims, token, strange, &expect, why))
		json_decref(claims);
	json_decref(strange);
	as_header(data, size, keys, &expect);
	free(text);
	return 0;
}
