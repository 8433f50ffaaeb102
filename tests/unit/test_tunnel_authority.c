/* SPDX-License-Identifier: Apache-2.0 */
/* The authority: what it signs and what not, one certificate for one token however often and by how
 * many it is asked, and asks that wait for a registry that is away. With a real weir-registry. */
#include "tests/unit/registry_program.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include "lib/log.h"
#include "user/tunnel/authority.h"

#define DAY_US 86400000000ull

static struct registry_program here;
static struct signer signer;
static char why[TUNNEL_WHY_MAX];

/* ---- keys, requests, certificates ---- */

static char *pem_text(BIO *bio)
{
	char *data, *text;
	long n = BIO_get_mem_data(bio, &data);

	text = strndup(data, (size_t)n);
	BIO_free(bio);
	return text;
}

/* A request that asks for more than it may have; signed by by (NULL: by its own key). */
static char *make_csr(EVP_PKEY *key, EVP_PKEY *by)
{
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	STACK_OF(X509_EXTENSION) *exts = sk_X509_EXTENSION_new_null();

	X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC,
				   (const unsigned char *)"other", -1, -1, 0);
	sk_X509_EXTENSION_push(exts, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
							 "DNS:other.edge.example"));
	sk_X509_EXTENSION_push(
		exts, X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE"));
	X509_REQ_add_extensions(req, exts);
	sk_X509_EXTENSION_pop_free(exts, X509_EXTENSION_free);
	X509_REQ_set_pubkey(req, key);
	if (!by)
		by = key;
	assert_true(X509_REQ_sign(req, by,
				  EVP_PKEY_get_base_id(by) == EVP_PKEY_ED25519 ? NULL
									       : EVP_sha256()) > 0);
	PEM_write_bio_X509_REQ(bio, req);
	X509_REQ_free(req);
	return pem_text(bio);
}

static char *p256_csr(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	char *csr = make_csr(key, NULL);

	EVP_PKEY_free(key);
	return csr;
}

static X509 *read_pem(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(cert);
	return cert;
}

static void write_file(const char *name, mode_t mode, void (*fn)(BIO *, void *), void *arg)
{
	char path[300];
	BIO *bio;

	snprintf(path, sizeof(path), "%s/%s", here.folder, name);
	bio = BIO_new_file(path, "w");
	assert_non_null(bio);
	fn(bio, arg);
	BIO_free(bio);
	assert_int_equal(chmod(path, mode), 0);
}

static void write_cert(BIO *bio, void *cert)
{
	PEM_write_bio_X509(bio, cert);
}

static void write_key(BIO *bio, void *key)
{
	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
}

static void make_authority(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_EXTENSION *ca =
		X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");

	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 10 * 86400);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
				   (const unsigned char *)"origins", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	X509_add_ext(cert, ca, -1);
	X509_EXTENSION_free(ca);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	write_file("origins.pem", 0644, write_cert, cert);
	write_file("origins.key", 0600, write_key, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

/* ---- set-up ---- */

static int setup(void **state)
{
	(void)state;
	log_open("test", LOG_LEVEL_ERROR);
	registry_program_start(&here);
	make_authority();
	assert_int_equal(signer_read(&signer, here.folder, why, sizeof(why)), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	signer_clear(&signer);
	registry_program_stop(&here);
	return 0;
}

static int clean(void **state)
{
	(void)state;
	registry_delete_prefix(here.reg, REG_ROOT, NULL);
	return 0;
}

/* A tunnel with an open enrolment. */
static void make_tunnel(const char *name, int64_t ttl_s, char secret[44])
{
	struct tunnel_pool none = { NULL, 0, 60 };
	struct tunnel t = { .nhostnames = 2 };

	snprintf(t.name, sizeof(t.name), "%s", name);
	snprintf(t.hostnames[0], sizeof(t.hostnames[0]), "%s.edge.example", name);
	snprintf(t.hostnames[1], sizeof(t.hostnames[1]), "www.%s.edge.example", name);
	assert_int_equal(tunnel_create(here.reg, &t, &none, why), 0);
	assert_int_equal(tunnel_open_enrolment(here.reg, name, ttl_s, secret, why), 0);
}

static void ask(const char *id, const char *tunnel, const char *secret, const char *csr)
{
	struct enroll_ask a = { .csr = (char *)csr };
	char key[128], *text;

	snprintf(a.tunnel, sizeof(a.tunnel), "%s", tunnel);
	snprintf(a.secret, sizeof(a.secret), "%s", secret);
	snprintf(key, sizeof(key), REG_ENROLL "%s", id);
	text = enroll_ask_format(&a);
	assert_int_equal(registry_put(here.reg, key, text, 0), 0);
	free(text);
}

static bool has(const char *key)
{
	struct reg_kv kv;

	if (registry_get(here.reg, key, &kv))
		return false;
	reg_kv_free(&kv);
	return true;
}

/* The answer, when it comes; the ask is gone then. */
static json_t *answer_of(const char *id)
{
	char key[128];
	struct reg_kv kv;
	json_t *answer;

	snprintf(key, sizeof(key), REG_ENROLLED "%s", id);
	eventually(has(key));
	assert_int_equal(registry_get(here.reg, key, &kv), 0);
	answer = json_loads(kv.value, 0, NULL);
	reg_kv_free(&kv);
	assert_non_null(answer);
	snprintf(key, sizeof(key), REG_ENROLL "%s", id);
	assert_false(has(key));
	return answer;
}

static void assert_refused(const char *id, const char *cause, const char *text)
{
	json_t *answer = answer_of(id);
	const char *error = json_string_value(json_object_get(answer, "error"));

	assert_null(json_object_get(answer, "cert"));
	assert_non_null(error);
	assert_string_equal(json_string_value(json_object_get(answer, "cause")), cause);
	if (!strstr(error, text))
		fail_msg("\"%s\" does not say \"%s\"", error, text);
	json_decref(answer);
}

/* ---- the pure part ---- */

static void issue(EVP_PKEY *key, EVP_PKEY *by, int want, const char *text)
{
	char *csr = make_csr(key, by), because[AUTHORITY_WHY_MAX] = "";
	struct tunnel t = { .name = "app", .nhostnames = 1, .hostnames = { "app.edge.example" } };
	struct issued made = { NULL, "", 0 };

	assert_int_equal(signer_issue(&signer, &t, csr, DAY_US, &made, because), want);
	if (want && !strstr(because, text))
		fail_msg("\"%s\" does not say \"%s\"", because, text);
	free(made.pem);
	free(csr);
	EVP_PKEY_free(key);
	EVP_PKEY_free(by);
}

static void test_keys(void **state)
{
	(void)state;
	issue(EVP_EC_gen("P-256"), NULL, 0, "");
	issue(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL, 0, "");
	issue(EVP_RSA_gen(2048), NULL, 0, "");
	issue(EVP_RSA_gen(1024), NULL, -EINVAL, "key is neither");
	issue(EVP_EC_gen("P-384"), NULL, -EINVAL, "key is neither");
	issue(EVP_EC_gen("P-256"), EVP_EC_gen("P-256"), -EINVAL, "not signed by its own key");
}

static void test_certificate(void **state)
{
	struct tunnel t = { .name = "app",
			    .created = 1234567890,
			    .nhostnames = 2,
			    .hostnames = { "app.edge.example", "www.edge.example" } };
	char *csr = p256_csr(), because[AUTHORITY_WHY_MAX];
	struct issued made;
	X509_NAME *subject;
	GENERAL_NAMES *names;
	EVP_PKEY *ca = X509_get0_pubkey(signer.cert);
	char cn[64];
	X509 *cert;
	int day, second;

	(void)state;
	assert_int_equal(signer_issue(&signer, &t, csr, 2 * DAY_US, &made, because), 0);
	cert = read_pem(made.pem);
	subject = X509_get_subject_name(cert);
	assert_int_equal(X509_NAME_get_text_by_NID(subject, NID_commonName, cn, sizeof(cn)), 3);
	assert_string_equal(cn, "app");
	assert_int_equal(X509_NAME_get_text_by_NID(subject, NID_serialNumber, cn, sizeof(cn)), 10);
	assert_string_equal(cn, "1234567890"); /* which tunnel of that name */
	assert_int_equal(X509_NAME_entry_count(subject), 2);
	names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	assert_int_equal(sk_GENERAL_NAME_num(names), 2);
	GENERAL_NAMES_free(names);
	assert_int_equal(X509_check_host(cert, "www.edge.example", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(cert, "other.edge.example", 0, 0, NULL), 0);
	assert_int_equal(X509_check_ca(cert), 0);
	assert_int_equal(X509_verify(cert, ca), 1);
	assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_CLIENT, 0), 1);
	assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, 0), 0);
	assert_int_equal(strlen(made.serial), 32);
	assert_true(X509_cmp_current_time(X509_get0_notBefore(cert)) < 0);
	assert_int_equal(ASN1_TIME_diff(&day, &second, NULL, X509_get0_notAfter(cert)), 1);
	assert_true(day == 1 || (day == 2 && !second));
	X509_free(cert);
	free(made.pem);
	/* never longer than the authority itself */
	assert_int_equal(signer_issue(&signer, &t, csr, 365 * DAY_US, &made, because), 0);
	cert = read_pem(made.pem);
	assert_int_equal(
		ASN1_TIME_compare(X509_get0_notAfter(cert), X509_get0_notAfter(signer.cert)), 0);
	X509_free(cert);
	free(made.pem);
	free(csr);
	assert_int_equal(signer_issue(&signer, &t, "hello", DAY_US, &made, because), -EINVAL);
}

static void test_files(void **state)
{
	EVP_PKEY *other = EVP_EC_gen("P-256");
	struct signer s;
	char key[300], moved[300];

	(void)state;
	snprintf(key, sizeof(key), "%s/origins.key", here.folder);
	snprintf(moved, sizeof(moved), "%s/moved.key", here.folder);
	assert_int_equal(chmod(key, 0640), 0);
	assert_int_equal(signer_read(&s, here.folder, why, sizeof(why)), -EPERM);
	assert_non_null(strstr(why, "chmod 600"));
	assert_int_equal(rename(key, moved), 0);
	assert_int_equal(signer_read(&s, here.folder, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "weir ca init"));
	write_file("origins.key", 0600, write_key, other);
	EVP_PKEY_free(other);
	assert_int_equal(signer_read(&s, here.folder, why, sizeof(why)), -EINVAL);
	assert_int_equal(rename(moved, key), 0);
	assert_int_equal(chmod(key, 0600), 0);
	assert_int_equal(signer_read(&s, here.folder, why, sizeof(why)), 0);
	signer_clear(&s);
}

/* ---- with the registry ---- */

static void test_enrolment(void **state)
{
	char secret[44], *csr = p256_csr(), key[200];
	struct authority *a;
	struct tunnel before, after;
	json_t *answer;
	X509 *cert;

	(void)state;
	make_tunnel("app", 60, secret);
	assert_int_equal(tunnel_get(here.reg, "app", &before), 0);
	ask("early", "app", secret, csr); /* before it was there */
	assert_int_equal(authority_open(&a, here.reg, &signer, DAY_US), 0);
	answer = answer_of("early");
	cert = read_pem(json_string_value(json_object_get(answer, "cert")));
	assert_int_equal(X509_check_host(cert, "www.app.edge.example", 0, 0, NULL), 1);
	X509_free(cert);
	snprintf(key, sizeof(key), REG_ISSUED "app/%s",
		 json_string_value(json_object_get(answer, "serial")));
	assert_true(has(key));
	json_decref(answer);
	assert_int_equal(tunnel_get(here.reg, "app", &after), 0);
	assert_int_equal(after.generation, before.generation);
	assert_string_equal(after.enroll_hash, "");
	ask("again", "app", secret, csr);
	assert_refused("again", "closed", "good once");
	eventually(authority_count(a, AUTHORITY_SIGNED) == 1);
	eventually(authority_count(a, AUTHORITY_CLOSED) == 1);
	eventually(authority_pending(a) == 0);
	authority_close(a);
	free(csr);
}

static void test_refusals(void **state)
{
	char secret[44], stale[44], *csr = p256_csr();
	struct authority *a;
	struct tunnel t;

	(void)state;
	assert_int_equal(authority_open(&a, here.reg, &signer, DAY_US), 0);
	make_tunnel("app", 60, secret);
	make_tunnel("late", 0, stale);
	ask("1", "absent", secret, csr);
	assert_refused("1", "tunnel", "no tunnel absent");
	ask("2", "app", stale, csr);
	assert_refused("2", "secret", "not the token of tunnel app");
	ask("3", "late", stale, csr);
	assert_refused("3", "expired", "weir tunnel token late");
	ask("4", "app", secret, "-----BEGIN nothing");
	assert_refused("4", "csr", "cannot be read");
	assert_int_equal(registry_put(here.reg, REG_ENROLL "5", "{\"tunnel\":7}", 0), 0);
	assert_refused("5", "malformed", "cannot be read");
	/* none of these cost the token */
	assert_int_equal(tunnel_get(here.reg, "app", &t), 0);
	assert_int_equal(tunnel_check_secret(&t, secret, time(NULL)), 0);
	ask("6", "app", secret, csr);
	json_decref(answer_of("6"));
	eventually(authority_count(a, AUTHORITY_SIGNED) == 1);
	authority_close(a);
	free(csr);
}

/* Two authorities, and the same token asked for twenty times at once: one certificate. */
static void test_once(void **state)
{
	char secret[44], *csr = p256_csr(), id[16];
	struct authority *a, *b;
	int certs = 0;

	(void)state;
	make_tunnel("app", 60, secret);
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "%d", i);
		ask(id, "app", secret, csr);
	}
	assert_int_equal(authority_open(&a, here.reg, &signer, DAY_US), 0);
	assert_int_equal(authority_open(&b, here.reg, &signer, DAY_US), 0);
	for (int i = 0; i < 20; i++) {
		json_t *answer;

		snprintf(id, sizeof(id), "%d", i);
		answer = answer_of(id);
		certs += json_object_get(answer, "cert") != NULL;
		json_decref(answer);
	}
	assert_int_equal(certs, 1);
	/* each ask was answered by one of them */
	eventually(authority_count(a, AUTHORITY_SIGNED) + authority_count(b, AUTHORITY_SIGNED) ==
		   1);
	eventually(authority_count(a, AUTHORITY_CLOSED) + authority_count(b, AUTHORITY_CLOSED) ==
		   19);
	authority_close(a);
	authority_close(b);
	free(csr);
}

/* An ask whose lease ends takes its answer along. */
static void test_lease(void **state)
{
	char secret[44], *csr = p256_csr(), *text;
	struct enroll_ask asked = { .tunnel = "app", .csr = csr };
	struct reg_lease *lease;
	struct authority *a;

	(void)state;
	make_tunnel("app", 60, secret);
	memcpy(asked.secret, secret, sizeof(asked.secret));
	text = enroll_ask_format(&asked);
	assert_int_equal(authority_open(&a, here.reg, &signer, DAY_US), 0);
	assert_int_equal(registry_lease(here.reg, &lease, 5, NULL, NULL), 0);
	assert_int_equal(registry_lease_put(lease, REG_ENROLL "leased", text), 0);
	json_decref(answer_of("leased"));
	registry_lease_end(lease, true);
	eventually(!has(REG_ENROLLED "leased"));
	authority_close(a);
	free(text);
	free(csr);
}

/* The registry goes away and comes back: what is asked after that is answered as before. */
static void test_silence(void **state)
{
	char secret[44], *csr = p256_csr();
	struct authority *a;

	(void)state;
	make_tunnel("app", 60, secret);
	assert_int_equal(authority_open(&a, here.reg, &signer, DAY_US), 0);
	ask("before", "absent", secret, csr);
	assert_refused("before", "tunnel", "no tunnel");
	registry_program_kill(&here);
	registry_program_run(&here);
	ask("after", "app", secret, csr);
	json_decref(answer_of("after"));
	eventually(authority_count(a, AUTHORITY_SIGNED) == 1);
	authority_close(a);
	free(csr);
}

static void test_prune(void **state)
{
	size_t n;

	(void)state;
	assert_int_equal(registry_put(here.reg, REG_REVOKED "AA", "{\"until\":100}", 0), 0);
	assert_int_equal(registry_put(here.reg, REG_REVOKED "BB", "{\"until\":101}", 0), 0);
	assert_int_equal(registry_put(here.reg, REG_REVOKED "CC", "{\"at\":1}", 0), 0);
	assert_int_equal(registry_put(here.reg, REG_ISSUED "app/AA", "{\"until\":100}", 0), 0);
	assert_int_equal(authority_prune(here.reg, 100, &n), 0);
	assert_int_equal(n, 2);
	assert_false(has(REG_REVOKED "AA"));
	assert_true(has(REG_REVOKED "BB"));
	assert_true(has(REG_REVOKED "CC"));
	assert_false(has(REG_ISSUED "app/AA"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_certificate),
		cmocka_unit_test(test_files),
		cmocka_unit_test_setup(test_enrolment, clean),
		cmocka_unit_test_setup(test_refusals, clean),
		cmocka_unit_test_setup(test_once, clean),
		cmocka_unit_test_setup(test_lease, clean),
		cmocka_unit_test_setup(test_silence, clean),
		cmocka_unit_test_setup(test_prune, clean),
	};

	return cmocka_run_group_tests_name("authority", tests, setup, teardown);
}
