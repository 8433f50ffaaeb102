/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures of version 4: the examples of Amazon's S3 API reference, the general test suite of AWS (without the
 * cases that normalize paths, which S3 does not do), requests signed by botocore; and 1,000 changed requests, of
 * which none may pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "http/s3/sigv4.h"
#include "lib/hash.h"

#define ID     "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define EMPTY  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define NOW    1369353600 /* 20130524T000000Z */
#define MAX    12

/* One request, with room to be changed. */
struct made {
	char method[16], target[1024], name[MAX][64], value[MAX][1024];
	size_t n;
};

static void set(struct made *m, const char *method, const char *target, const char *const *headers)
{
	memset(m, 0, sizeof(*m));
	snprintf(m->method, sizeof(m->method), "%s", method);
	snprintf(m->target, sizeof(m->target), "%s", target);
	for (; *headers; headers += 2, m->n++) {
		snprintf(m->name[m->n], sizeof(m->name[0]), "%s", headers[0]);
		snprintf(m->value[m->n], sizeof(m->value[0]), "%s", headers[1]);
	}
}

static struct sigv4_request view(const struct made *m, struct http_pair pairs[MAX])
{
	for (size_t i = 0; i < m->n; i++)
		pairs[i] = (struct http_pair){ m->name[i], m->value[i] };
	return (struct sigv4_request){ .method = m->method, .target = m->target, .headers = pairs, .nheaders = m->n };
}

/* As a server does it. S3_OK and *signed false: anonymous. */
static enum s3_error verify(const struct made *m, time_t now, bool *by_key)
{
	struct http_pair pairs[MAX];
	struct sigv4_request req = view(m, pairs);
	struct s3_fault fault;
	struct sigv4 sig;
	uint8_t key[32];
	enum s3_error error = sigv4_read(&sig, &req, now, &fault);

	*by_key = false;
	if (error || sig.kind == SIGV4_NONE)
		return error;
	if (strcmp(sig.id, ID) != 0)
		return S3_INVALID_ACCESS_KEY;
	sigv4_key(SECRET, sig.date, sig.region, "s3", key);
	*by_key = true;
	return sigv4_check(&sig, &req, key);
}

#define H(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define HOST   "Host", "examplebucket.s3.amazonaws.com"
#define DATE   "x-amz-date", "20130524T000000Z"
#define AUTH(names, signature)                                                                              \
	"Authorization",                                                                                    \
		"AWS4-HMAC-SHA256 Credential=" ID "/20130524/us-east-1/s3/aws4_request,SignedHeaders=" names \
		",Signature=" signature

static void expect(const char *method, const char *target, const char *const *headers, enum s3_error want)
{
	struct made m;
	bool by_key;
	enum s3_error got;

	set(&m, method, target, headers);
	got = verify(&m, NOW + 60, &by_key);
	if (got != want || (!want && !by_key))
		fail_msg("%s %s: %s instead of %s", method, target, s3_error_code(got), s3_error_code(want));
}

/* The three parts of Authorization come in any order. */
static void parts_in_any_order(void **state)
{
	(void)state;
	expect("GET", "/test.txt",
	       H(HOST, "Range", "bytes=0-9", "x-amz-content-sha256", EMPTY, DATE, "Authorization",
		 "AWS4-HMAC-SHA256 Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41, "
		 "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Credential=" ID "/20130524/us-east-1/s3/aws4_request"),
	       S3_OK);
	expect("GET", "/test.txt",
	       H(HOST, "Range", "bytes=0-9", "x-amz-content-sha256", EMPTY, DATE, "Authorization",
		 "AWS4-HMAC-SHA256 Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb4G, "
		 "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Credential=" ID "/20130524/us-east-1/s3/aws4_request"),
	       S3_AUTH_HEADER_MALFORMED);
}

/* "Signature Calculations for the Authorization Header: Transferring Payload in a Single Chunk", and the seeds of
 * "… in Multiple Chunks" and "… Including Trailing Headers". */
static void examples_of_the_s3_reference(void **state)
{
	(void)state;
	expect("GET", "/test.txt",
	       H(HOST, "Range", "bytes=0-9", "x-amz-content-sha256", EMPTY, DATE,
		 AUTH("host;range;x-amz-content-sha256;x-amz-date",
		      "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")),
	       S3_OK);
	expect("PUT", "/test$file.text",
	       H(HOST, "Date", "Fri, 24 May 2013 00:00:00 GMT", DATE, "x-amz-storage-class", "REDUCED_REDUNDANCY",
		 "x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
		 AUTH("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
		      "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")),
	       S3_OK);
	expect("GET", "/?lifecycle",
	       H(HOST, DATE, "x-amz-content-sha256", EMPTY,
		 AUTH("host;x-amz-content-sha256;x-amz-date",
		      "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")),
	       S3_OK);
	expect("GET", "/?max-keys=2&prefix=J",
	       H(HOST, DATE, "x-amz-content-sha256", EMPTY,
		 AUTH("host;x-amz-content-sha256;x-amz-date",
		      "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")),
	       S3_OK);
	expect("PUT", "/examplebucket/chunkObject.txt",
	       H("Host", "s3.amazonaws.com", DATE, "x-amz-storage-class", "REDUCED_REDUNDANCY", "x-amz-content-sha256",
		 "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "Content-Encoding", "aws-chunked", "x-amz-decoded-content-length",
		 "66560", "Content-Length", "66824",
		 AUTH("content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
		      "x-amz-storage-class",
		      "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")),
	       S3_OK);
	expect("PUT", "/examplebucket/chunkObject.txt",
	       H("Host", "s3.amazonaws.com", DATE, "x-amz-storage-class", "REDUCED_REDUNDANCY", "x-amz-content-sha256",
		 "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "Content-Encoding", "aws-chunked",
		 "x-amz-decoded-content-length", "66560", "x-amz-trailer", "x-amz-checksum-crc32c", "Content-Length", "66824",
		 AUTH("content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
		      "x-amz-storage-class;x-amz-trailer",
		      "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e")),
	       S3_OK);
}

#define PRESIGNED                                                                                             \
	"/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" ID "%2F20130524%2Fus-east-1%2Fs3%2F"    \
	"aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=" \
	"aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"

static enum s3_error presigned_at(time_t now)
{
	struct made m;
	bool by_key;

	set(&m, "GET", PRESIGNED, H(HOST));
	return verify(&m, now, &by_key);
}

/* "Authenticating Requests: Using Query Parameters" */
static void presigned_example(void **state)
{
	char *target;

	(void)state;
	assert_int_equal(presigned_at(NOW), S3_OK);
	assert_int_equal(presigned_at(NOW - 900), S3_OK);
	assert_int_equal(presigned_at(NOW - 901), S3_ACCESS_DENIED);
	assert_int_equal(presigned_at(NOW + 86400), S3_OK);
	assert_int_equal(presigned_at(NOW + 86401), S3_ACCESS_DENIED);
	target = sigv4_presign("GET", "/test.txt", "examplebucket.s3.amazonaws.com", ID, SECRET, "us-east-1", NOW, 86400);
	assert_string_equal(target, PRESIGNED);
	free(target);
}

#define BOTO(names, signature)                                                                                \
	"Authorization",                                                                                      \
		"AWS4-HMAC-SHA256 Credential=" ID "/20130524/eu-west-1/s3/aws4_request, SignedHeaders=" names \
		", Signature=" signature

static void signed_by_botocore(void **state)
{
	(void)state;
	expect("GET", "/bkt/a%20b%2Bc/%C3%BC/%25/../x//y~z",
	       H("Host", "gw.example:8080", DATE, "X-Amz-Content-SHA256", EMPTY,
		 BOTO("host;x-amz-content-sha256;x-amz-date", "fe5086bc08ff012764c3cadc71a60ba25da464278a51313b55802f4d1a1b6166")),
	       S3_OK);
	/* the same key, encoded in another way */
	expect("GET", "/bkt/a%20b+c/%c3%bc/%25/%2e%2E/x//y%7ez",
	       H("Host", "gw.example:8080", DATE, "X-Amz-Content-SHA256", EMPTY,
		 BOTO("host;x-amz-content-sha256;x-amz-date", "fe5086bc08ff012764c3cadc71a60ba25da464278a51313b55802f4d1a1b6166")),
	       S3_OK);
	expect("GET", "/bkt?list-type=2&prefix=a%20b%2B%2F&delimiter=%2F&a-b=1&a=2",
	       H("Host", "gw.example:8080", DATE, "X-Amz-Content-SHA256", EMPTY,
		 BOTO("host;x-amz-content-sha256;x-amz-date", "a9d6fbe9c57e7e50548b1ce62cc26eead7d36d6bd344f90bc8036e86a68995fc")),
	       S3_OK);
	expect("PUT", "/bkt/k?partNumber=1&uploadId=abc",
	       H("Host", "gw.example:8080", DATE, "X-Amz-Content-SHA256", EMPTY, "x-amz-meta-b", "  two   words ",
		 "x-amz-meta-a", "1",
		 BOTO("host;x-amz-content-sha256;x-amz-date;x-amz-meta-a;x-amz-meta-b",
		      "8c9abb67ebc357a2c1edb3cde1ed696606f1190e7be9f6bbd6e5e791a9557f94")),
	       S3_OK);
	expect("GET",
	       "/bkt/a%20b%2Bc?versionId=x&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" ID
	       "%2F20130524%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=3600"
	       "&X-Amz-SignedHeaders=host&X-Amz-Signature=a06a933f4de5c2d493c385a8588c7f9813f7dd889ca1d3955610207d158ce13e",
	       H("Host", "gw.example:8080"), S3_OK);
}

/* ---- the general suite ---- */

struct vector {
	const char *name, *method, *target, *headers[9], *body, *names, *signature;
};

static const struct vector suite[] = {
	{ "get-vanilla", "GET", "/", { NULL }, "", "host;x-amz-date",
	  "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
	{ "get-unreserved", "GET", "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", { NULL }, "",
	  "host;x-amz-date", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f" },
	{ "get-utf8", "GET", "/\xe1\x88\xb4", { NULL }, "", "host;x-amz-date",
	  "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85" },
	{ "get-space", "GET", "/example space/", { NULL }, "", "host;x-amz-date",
	  "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741" },
	{ "get-vanilla-query", "GET", "/", { NULL }, "", "host;x-amz-date",
	  "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31" },
	{ "get-vanilla-empty-query-key", "GET", "/?Param1=value1", { NULL }, "", "host;x-amz-date",
	  "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb" },
	{ "get-vanilla-query-order-key-case", "GET", "/?Param2=value2&Param1=value1", { NULL }, "", "host;x-amz-date",
	  "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500" },
	{ "get-vanilla-query-order-key", "GET", "/?Param1=value2&Param1=Value1", { NULL }, "", "host;x-amz-date",
	  "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1" },
	{ "get-vanilla-query-order-value", "GET", "/?Param1=value2&Param1=value1", { NULL }, "", "host;x-amz-date",
	  "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694" },
	{ "get-vanilla-query-unreserved", "GET",
	  "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz="
	  "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
	  { NULL }, "", "host;x-amz-date", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197" },
	{ "get-vanilla-utf8-query", "GET", "/?\xe1\x88\xb4=bar", { NULL }, "", "host;x-amz-date",
	  "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04" },
	{ "get-header-key-duplicate", "GET", "/",
	  { "My-Header1", "value2", "My-Header1", "value2", "My-Header1", "value1" }, "", "host;my-header1;x-amz-date",
	  "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea" },
	{ "get-header-value-order", "GET", "/",
	  { "My-Header1", "value4", "My-Header1", "value1", "My-Header1", "value3", "My-Header1", "value2" }, "",
	  "host;my-header1;x-amz-date", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01" },
	{ "get-header-value-trim", "GET", "/", { "My-Header1", " value1", "My-Header2", " \"a   b   c\"" }, "",
	  "host;my-header1;my-header2;x-amz-date",
	  "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736" },
	{ "post-vanilla", "POST", "/", { NULL }, "", "host;x-amz-date",
	  "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
	{ "post-vanilla-query", "POST", "/?Param1=value1", { NULL }, "", "host;x-amz-date",
	  "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11" },
	{ "post-header-key-case", "POST", "/", { NULL }, "", "host;x-amz-date",
	  "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
	{ "post-header-key-sort", "POST", "/", { "My-Header1", "value1" }, "", "host;my-header1;x-amz-date",
	  "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c" },
	{ "post-header-value-case", "POST", "/", { "My-Header1", "VALUE1" }, "", "host;my-header1;x-amz-date",
	  "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d" },
	{ "post-x-www-form-urlencoded", "POST", "/", { "Content-Type", "application/x-www-form-urlencoded" },
	  "Param1=value1", "content-type;host;x-amz-date",
	  "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a" },
};

static void general_suite(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(suite) / sizeof(*suite); i++) {
		const struct vector *v = &suite[i];
		struct http_pair pairs[MAX] = { { "Host", "example.amazonaws.com" }, { "X-Amz-Date", "20150830T123600Z" } };
		struct sigv4_request req = { .method = v->method, .target = v->target, .headers = pairs, .nheaders = 2 };
		char hex[65], *canonical, *text;
		uint8_t digest[32], key[32];

		for (int h = 0; v->headers[h]; h += 2)
			pairs[req.nheaders++] = (struct http_pair){ v->headers[h], v->headers[h + 1] };
		sha256_once(v->body, strlen(v->body), digest);
		canonical = sigv4_canonical(&req, v->names, hex_encode(digest, 32, hex));
		text = sigv4_string_to_sign("20150830T123600Z", "20150830/us-east-1/service/aws4_request", canonical);
		sigv4_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "service", key);
		hmac_sha256(key, 32, text, strlen(text), digest);
		if (strcmp(hex_encode(digest, 32, hex), v->signature) != 0)
			fail_msg("%s:\n%s\n%s", v->name, canonical, text);
		free(canonical);
		free(text);
	}
}

/* ---- what must be refused ---- */

static void rules(void **state)
{
	static const char good[] = "AWS4-HMAC-SHA256 Credential=" ID "/20130524/us-east-1/s3/aws4_request, SignedHeaders="
				   "host;x-amz-content-sha256;x-amz-date, Signature=" EMPTY;
	static const struct {
		const char *authorization;
		enum s3_error want;
	} headers[] = {
		{ good, S3_SIGNATURE_MISMATCH },
		{ "AWS AKID:c2lnbmF0dXJl", S3_INVALID_REQUEST },
		{ "AWS4-ECDSA-P256-SHA256 Credential=x", S3_INVALID_ARGUMENT },
		{ "AWS4-HMAC-SHA256 ", S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host", S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/ec2/aws4_request, SignedHeaders=host, Signature=" EMPTY,
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/2013052/r/s3/aws4_request, SignedHeaders=host, Signature=" EMPTY,
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130525/r/s3/aws4_request, SignedHeaders=host, Signature=" EMPTY,
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=20130524/r/s3/aws4_request, SignedHeaders=host, Signature=" EMPTY,
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=x-amz-date, Signature=" EMPTY,
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host;host, Signature=" EMPTY,
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=x-amz-date;host, Signature=" EMPTY,
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=Host, Signature=" EMPTY,
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host, Signature=abc",
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=a/20130524/r/s3/aws4_request, SignedHeaders=host, Signature=" EMPTY ", x=y",
		  S3_AUTH_HEADER_MALFORMED },
		{ "AWS4-HMAC-SHA256 Credential=" ID "/20130524/r/s3/aws4_request, SignedHeaders=host, Signature=" EMPTY,
		  S3_ACCESS_DENIED }, /* x-amz-date is not signed */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(*headers); i++)
		expect("GET", "/b/k", H(HOST, DATE, "x-amz-content-sha256", EMPTY, "Authorization", headers[i].authorization),
		       headers[i].want);
	expect("GET", "/b/k", H(HOST, "x-amz-content-sha256", EMPTY, "Authorization", good), S3_ACCESS_DENIED);
	expect("GET", "/b/k", H(HOST, "x-amz-date", "20130524T001601Z", "x-amz-content-sha256", EMPTY, "Authorization", good),
	       S3_REQUEST_TIME_TOO_SKEWED);
	expect("GET", "/b/k", H(HOST, "x-amz-date", "20130532T000000Z", "x-amz-content-sha256", EMPTY, "Authorization", good),
	       S3_ACCESS_DENIED);
	expect("GET", "/b/k", H(HOST, DATE, "Authorization", good), S3_INVALID_REQUEST);
	expect("GET", "/b/k", H(HOST, DATE, "x-amz-content-sha256", "UNSIGNED", "Authorization", good), S3_INVALID_ARGUMENT);
	expect("GET", "/b/k",
	       H(HOST, DATE, "x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "Authorization", good),
	       S3_NOT_IMPLEMENTED);
	expect("GET", "/b/k", H(HOST, DATE, "x-amz-content-sha256", EMPTY, "x-amz-acl", "private", "Authorization", good),
	       S3_ACCESS_DENIED);
	expect("GET", "/b/k",
	       H(HOST, DATE, "x-amz-content-sha256", EMPTY, "x-amz-security-token", "t", "Authorization", good),
	       S3_INVALID_TOKEN);
	expect("GET", PRESIGNED, H(HOST, DATE, "x-amz-content-sha256", EMPTY, "Authorization", good), S3_INVALID_ARGUMENT);
	expect("GET", PRESIGNED, H(HOST, "Authorization", "Bearer x"), S3_INVALID_ARGUMENT);
	expect("GET", PRESIGNED "&X-Amz-Expires=1", H(HOST), S3_AUTH_QUERY_PARAMETERS);
	expect("GET", PRESIGNED, H(HOST, "x-amz-acl", "public-read"), S3_ACCESS_DENIED);
	expect("GET", "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256", H(HOST), S3_AUTH_QUERY_PARAMETERS);
	expect("GET", "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA1", H(HOST), S3_AUTH_QUERY_PARAMETERS);
	expect("GET", "/b/k?AWSAccessKeyId=a&Signature=b&Expires=1", H(HOST), S3_INVALID_REQUEST);
}

static void kinds(void **state)
{
	(void)state;
	assert_int_equal(sigv4_kind("/a/b", NULL), SIGV4_NONE);
	assert_int_equal(sigv4_kind("/a/b", "Bearer x"), SIGV4_NONE);
	assert_int_equal(sigv4_kind("/a/b", "AWS4-HMAC-SHA256 x"), SIGV4_HEADER);
	assert_int_equal(sigv4_kind("/a/b", "AWS4-HMAC-SHA2567"), SIGV4_OTHER);
	assert_int_equal(sigv4_kind("/a/b?Signature=1", NULL), SIGV4_NONE);
	assert_int_equal(sigv4_kind("/X-Amz-Algorithm=AWS4-HMAC-SHA256", NULL), SIGV4_NONE);
	assert_int_equal(sigv4_kind(PRESIGNED, NULL), SIGV4_QUERY);
}

/* The Host that a client used with another server. */
static void host_of_elsewhere(void **state)
{
	struct http_pair pairs[] = {
		{ "Host", "endpoint:9000" },
		{ "x-amz-content-sha256", EMPTY },
		{ "x-amz-date", "20130524T000000Z" },
		{ AUTH("host;x-amz-content-sha256;x-amz-date",
		       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543") },
	};
	struct sigv4_request req = { "GET", "/?lifecycle", "examplebucket.s3.amazonaws.com", pairs, 4 };
	struct sigv4 sig;
	uint8_t key[32];

	(void)state;
	assert_int_equal(sigv4_read(&sig, &req, NOW, NULL), S3_OK);
	sigv4_key(SECRET, "20130524", "us-east-1", "s3", key);
	assert_int_equal(sigv4_check(&sig, &req, key), S3_OK);
	assert_true(sigv4_signs(&sig, "X-Amz-Date") && !sigv4_signs(&sig, "x-amz"));
	req.host = NULL;
	assert_int_equal(sigv4_check(&sig, &req, key), S3_SIGNATURE_MISMATCH);
}

/* ---- 1,000 changes ---- */

static uint64_t seed = 7;

static unsigned int any(unsigned int below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned int)(seed >> 33) % below;
}

/* Another letter or digit at one place, other than in case. False when there is no place. */
static bool change(char *text)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	char *at = text + (*text ? any((unsigned int)strlen(text)) : 0), to;

	if (!*text || *at == ' ' || *at == ',')
		return false;
	do {
		to = letters[any(36)];
	} while (to == (*at | 0x20) || to == *at);
	*at = to;
	return true;
}

static void sign_all(struct made *m)
{
	struct http_pair pairs[MAX];
	struct sigv4_request req = view(m, pairs);
	uint8_t key[32];
	char *text;

	sigv4_key(SECRET, "20130524", "eu-west-1", "s3", key);
	text = sigv4_authorize(&req, ID, key, "eu-west-1");
	assert_non_null(text);
	snprintf(m->name[m->n], sizeof(m->name[0]), "Authorization");
	snprintf(m->value[m->n++], sizeof(m->value[0]), "%s", text);
	free(text);
}

static void base_request(struct made *m, unsigned int which)
{
	char *target;

	switch (which) {
	case 0:
		set(m, "GET", "/bucket/some%20key/%C3%BC?versionId=3f&response-content-type=text%2Fplain",
		    H("Host", "s3.example", DATE, "x-amz-content-sha256", EMPTY, "Range", "bytes=0-99"));
		break;
	case 1:
		set(m, "PUT", "/bucket/key",
		    H("Host", "s3.example", DATE, "x-amz-content-sha256", "UNSIGNED-PAYLOAD", "Content-Type", "text/plain",
		      "x-amz-meta-color", "green", "x-amz-acl", "private", "If-None-Match", "*"));
		break;
	case 2:
		set(m, "POST", "/bucket?delete", H("Host", "s3.example", DATE, "x-amz-content-sha256", EMPTY, "Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg=="));
		break;
	default:
		target = sigv4_presign("GET", "/bucket/key?x-id=GetObject", "s3.example", ID, SECRET, "us-east-1", NOW, 3600);
		set(m, "GET", target, H("Host", "s3.example"));
		free(target);
		return;
	}
	sign_all(m);
}

/* One change that means something else. */
static bool mutate(struct made *m)
{
	unsigned int which = any(10), h = any((unsigned int)m->n), last = (unsigned int)m->n;

	switch (which) {
	case 0:
		snprintf(m->method, sizeof(m->method), "%s", strcmp(m->method, "DELETE") ? "DELETE" : "PUT");
		return true;
	case 1:
	case 2:
	case 3: /* not the first slash */
		return m->target[1] && change(m->target + 1);
	case 4: /* a header more that S3 listens to */
		snprintf(m->name[last], sizeof(m->name[0]), "x-amz-%s", any(2) ? "copy-source" : "tagging");
		snprintf(m->value[m->n++], sizeof(m->value[0]), "a");
		return true;
	case 5: /* a header less */
		m->n--;
		memmove(m->name[h], m->name[h + 1], (last - 1 - h) * sizeof(m->name[0]));
		memmove(m->value[h], m->value[h + 1], (last - 1 - h) * sizeof(m->value[0]));
		return true;
	case 6: /* a header twice */
		memcpy(m->name[last], m->name[h], sizeof(m->name[0]));
		memcpy(m->value[last], m->value[h], sizeof(m->value[0]));
		m->n++;
		return strcasecmp(m->name[h], "Authorization") != 0;
	case 7: /* a parameter more */
		strcat(m->target, strchr(m->target, '?') ? "&acl" : "?acl");
		return true;
	default:
		return change(m->value[h]);
	}
}

static void thousand_changes_are_refused(void **state)
{
	unsigned int refused = 0;
	struct made m;
	bool by_key;

	(void)state;
	for (unsigned int which = 0; which < 4; which++) {
		base_request(&m, which);
		assert_int_equal(verify(&m, NOW, &by_key), S3_OK);
		assert_true(by_key);
	}
	while (refused < 1000) {
		struct made before;

		base_request(&m, any(4));
		before = m;
		if (!mutate(&m) || !memcmp(&m, &before, sizeof(m)))
			continue;
		if (verify(&m, NOW, &by_key) == S3_OK && by_key) {
			for (size_t i = 0; i < m.n; i++)
				print_message("%s: %s\n", m.name[i], m.value[i]);
			fail_msg("accepted: %s %s", m.method, m.target);
		}
		refused++;
	}
}

/* What does not fit on the stack, and more than may be signed. */
static void large(void **state)
{
	struct http_pair pairs[3] = { { "Host", "h" }, { "x-amz-date", "20130524T000000Z" }, { "x-amz-content-sha256", EMPTY } };
	struct http_pair with[4];
	char target[12000] = "/b?";
	uint8_t key[32];
	struct sigv4 sig;

	(void)state;
	sigv4_key(SECRET, "20130524", "r", "s3", key);
	for (int n = 1; n <= 200; n = n == 1 ? 128 : n + 1) {
		struct sigv4_request req = { "GET", target, NULL, pairs, 3 };
		char *text;

		target[3] = '\0';
		for (int i = 0; i < n; i++)
			sprintf(target + strlen(target), "%s%d=%s", i ? "&" : "", i * 7919 % 1000, "a%20%20%20%20%20%20%20%20%20%20%20%20");
		text = sigv4_authorize(&req, ID, key, "r");
		if (n > SIGV4_PARAMS_MAX) {
			assert_null(text);
			continue;
		}
		memcpy(with, pairs, sizeof(pairs));
		with[3] = (struct http_pair){ "Authorization", text };
		req = (struct sigv4_request){ "GET", target, NULL, with, 4 };
		assert_int_equal(sigv4_read(&sig, &req, NOW, NULL), S3_OK);
		assert_int_equal(sigv4_check(&sig, &req, key), S3_OK);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples_of_the_s3_reference),
		cmocka_unit_test(parts_in_any_order),
		cmocka_unit_test(presigned_example),
		cmocka_unit_test(signed_by_botocore),
		cmocka_unit_test(general_suite),
		cmocka_unit_test(rules),
		cmocka_unit_test(kinds),
		cmocka_unit_test(host_of_elsewhere),
		cmocka_unit_test(thousand_changes_are_refused),
		cmocka_unit_test(large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
