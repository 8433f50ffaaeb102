// SPDX-License-Identifier: Apache-2.0
/*
 * conn_tls.c -- TLS of a conn by OpenSSL, and the contexts.
 *
 * OpenSSL reads and writes through a BIO of ours: input comes from the socket straight into its
 * record buffer, several records a call (read-ahead), output goes to the conn's chunks, so that
 * many records leave in one system call. Both of OpenSSL's buffers are released when they are
 * empty.
 */
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/conn_impl.h"

/* Two records: a system call for 32 KiB costs little beside their decryption, and they stay in the
 * cache (64 and 128 KiB were not faster). */
#define READ_BUFFER (32u << 10)
/* Made into records, then sent, while the cache still has them. */
#define WRITE_PART (64u << 10)
/* What one turn may read: OpenSSL does not return as long as messages of TLS's own come, and all
 * others would wait. */
#define TURN_MAX (128u << 10)
/* KeyUpdates in a row, as in BoringSSL: each costs us two keys and a record. */
#define REKEYED_MAX 32

/* ---- the BIO --------------------------------------------------------------------------------- */

static int bio_read(BIO *bio, char *buf, size_t len, size_t *out)
{
	struct conn *c = BIO_get_data(bio);
	ssize_t n = -EAGAIN;

	BIO_clear_retry_flags(bio);
	if (c->receive_failed)
		n = c->receive_failed;
	else if (c->tls_left)
		n = conn_receive(c, buf, len < c->tls_left ? len : c->tls_left);
	if (n == -EAGAIN)
		BIO_set_retry_read(bio);
	else if (n <= 0)
		c->receive_failed = n < 0 ? (int)n : 1;
	if (n <= 0 || c->receive_failed)
		return 0;
	c->tls_left -= (size_t)n;
	*out = (size_t)n;
	return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *out)
{
	struct conn *c = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!c->write_failed && conn_out_add(c, data, len) < 0)
		return 0;
	*out = len;
	return 1;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	(void)bio, (void)num, (void)ptr;
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;
static int alpn_index = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

struct alpn_list { /* of a context, as on the wire */
	unsigned int len;
	unsigned char wire[256];
};

static void alpn_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
	(void)parent, (void)ad, (void)index, (void)argl, (void)argp;
	free(ptr);
}

static void make_once(void)
{
	alpn_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, alpn_free);
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir conn");
	if (!method)
		return;
	BIO_meth_set_read_ex(method, bio_read);
	BIO_meth_set_write_ex(method, bio_write);
	BIO_meth_set_ctrl(method, bio_ctrl);
}

/* ---- connections ----------------------------------------------------------------------------- */

/* What a client asks for: a name in SNI, and a name or an address in the certificate. */
static int expect_name(SSL *ssl, const char *name)
{
	struct addr addr;

	if (!name)
		return 0;
	if (addr_parse(&addr, name) == 0)
		return X509_VERIFY_PARAM_set1_ip(SSL_get0_param(ssl), addr.bytes,
						 addr.family == AF_INET ? 4 : 16)
			       ? 0
			       : -ENOMEM;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set_tlsext_host_name(ssl, name) && SSL_set1_host(ssl, name) ? 0 : -EINVAL;
}

static void on_message(int sent, int version, int type, const void *data, size_t len, SSL *ssl,
		       void *arg)
{
	struct conn *c = arg;

	(void)version, (void)ssl;
	if (sent || type != SSL3_RT_HANDSHAKE || !len ||
	    *(const uint8_t *)data != SSL3_MT_KEY_UPDATE)
		return;
	c->rekeyed++;
	c->tls_left = 0; /* enough for this turn */
}

int conn_tls_begin(struct conn *c, SSL_CTX *ctx, const char *server_name, bool server)
{
	BIO *bio;
	int err;

	pthread_once(&once, make_once);
	bio = method ? BIO_new(method) : NULL;
	c->ssl = bio ? SSL_new(ctx) : NULL;
	if (!c->ssl) {
		BIO_free(bio);
		ERR_clear_error();
		return -ENOMEM;
	}
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(c->ssl, bio, bio);
	SSL_set_msg_callback(c->ssl, on_message);
	SSL_set_msg_callback_arg(c->ssl, c);
	if (server) {
		SSL_set_accept_state(c->ssl);
		return 0;
	}
	SSL_set_connect_state(c->ssl);
	err = expect_name(c->ssl, server_name);
	ERR_clear_error();
	return err;
}

/* Tells the failure of the last call in words; the error queue is empty after it. */
static int fail(struct conn *c, const char *doing)
{
	const char *what = ERR_reason_error_string(ERR_peek_error());
	long verified = SSL_get_verify_result(c->ssl);
	int err = -EPROTO;
	char say[200];

	if (c->receive_failed) {
		err = c->receive_failed < 0 ? c->receive_failed : -ECONNRESET;
		what = c->receive_failed < 0 ? strerror(-err)
					     : "the peer closed without close_notify";
	} else if (verified != X509_V_OK && c->state == CONN_SHAKING) {
		what = X509_verify_cert_error_string(verified);
	}
	snprintf(say, sizeof(say), "TLS %s: %s", doing, what ? what : "failed");
	ERR_clear_error();
	conn_fail(c, err, say);
	return err;
}

int conn_tls_shake(struct conn *c)
{
	const unsigned char *alpn;
	unsigned int len;
	int n;

	ERR_clear_error();
	c->tls_left = TURN_MAX;
	n = SSL_do_handshake(c->ssl);
	if (n != 1) {
		if (SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ) {
			if (!c->tls_left)
				conn_work_soon(c);
			return 0;
		}
		return fail(c, "handshake");
	}
	SSL_get0_alpn_selected(c->ssl, &alpn, &len);
	if (len)
		c->alpn = strndup((const char *)alpn, len);
	return 1;
}

ssize_t conn_tls_read(struct conn *c, uint8_t *buf, size_t len)
{
	size_t got = 0, n;
	int err = 0;

	ERR_clear_error();
	c->tls_left = TURN_MAX;
	while (got < len && SSL_read_ex(c->ssl, buf + got, len - got, &n)) {
		got += n;
		c->rekeyed = 0;
	}
	if (got < len)
		err = SSL_get_error(c->ssl, 0);
	if (c->out) /* an answer to a message of TLS's own */
		conn_work_soon(c);
	if (c->rekeyed > REKEYED_MAX) {
		conn_fail(c, -EPROTO, "TLS read: too many key updates");
		return -EPROTO;
	}
	if (err == SSL_ERROR_WANT_READ && c->tls_left)
		c->readable = false;
	if (got) /* the same failure comes again */
		return (ssize_t)got;
	if (err == SSL_ERROR_WANT_READ)
		return -EAGAIN;
	if (err == SSL_ERROR_ZERO_RETURN)
		return 0;
	return fail(c, "read");
}

static void records(struct conn *c, const uint8_t *data, size_t len)
{
	size_t n;

	while (len && !c->write_failed && !c->ended) {
		size_t part = len < WRITE_PART ? len : WRITE_PART;

		ERR_clear_error();
		if (!SSL_write_ex(c->ssl, data, part, &n)) {
			fail(c, "write");
			return;
		}
		data += n;
		len -= n;
		if (len && c->out >= 2 * WRITE_PART)
			conn_out_send(c);
	}
}

void conn_tls_gathered(struct conn *c)
{
	struct conn_chunk *plain = c->plain;
	size_t len = c->plain_len;

	c->plain = NULL;
	c->plain_len = 0;
	if (len)
		records(c, plain->data, len);
	if (plain)
		conn_chunk_put(plain);
}

static void gather(struct conn *c, const uint8_t *data, size_t len)
{
	if (!c->plain)
		c->plain = conn_chunk_get();
	if (!c->plain) {
		conn_fail(c, -ENOMEM, "out of memory");
		return;
	}
	memcpy(c->plain->data + c->plain_len, data, len);
	c->plain_len += len;
}

/* Whole records are made at once, where the bytes lie; what remains waits for more of the batch. */
size_t conn_tls_write(struct conn *c, const uint8_t *data, size_t len)
{
	size_t part = 0;

	if (c->state != CONN_OPEN) { /* at most one record: see room() */
		gather(c, data, len);
		return len;
	}
	if (c->plain_len) {
		part = CONN_RECORD - c->plain_len < len ? CONN_RECORD - c->plain_len : len;
		gather(c, data, part);
		if (c->plain_len == CONN_RECORD)
			conn_tls_gathered(c);
	}
	if (len - part >= CONN_RECORD) {
		size_t whole = (len - part) / CONN_RECORD * CONN_RECORD;

		records(c, data + part, whole);
		part += whole;
	}
	if (part < len)
		gather(c, data + part, len - part);
	return len;
}

void conn_tls_notify(struct conn *c)
{
	ERR_clear_error();
	SSL_shutdown(c->ssl); /* sends ours; the peer's comes by reading */
	ERR_clear_error();
}

/* ---- contexts -------------------------------------------------------------------------------- */

static int why_ssl(char *why, size_t len, const char *what, const char *path)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	snprintf(why, len, "%s %s: %s", what, path, reason ? reason : "cannot be used");
	ERR_clear_error();
	return -EINVAL;
}

/* A key with a pass phrase must not ask for it on a terminal. */
static int no_pass_phrase(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return 0;
}

static int load_certificate(SSL_CTX *ctx, const struct conn_tls_files *f, char *why, size_t len)
{
	const char *key = f->key ? f->key : f->cert;

	if (!f->cert)
		return 0;
	SSL_CTX_set_default_passwd_cb(ctx, no_pass_phrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, f->cert) != 1)
		return why_ssl(why, len, "certificate", f->cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1)
		return why_ssl(why, len, "key", key);
	return 0;
}

static int load_authorities(SSL_CTX *ctx, const struct conn_tls_files *f, char *why, size_t len)
{
	int mode = SSL_VERIFY_NONE;

	if (f->server && f->require_client && !f->ca) {
		snprintf(why, len, "client certificates are required, but no authority is named");
		return -EINVAL;
	}
	if (f->ca && SSL_CTX_load_verify_file(ctx, f->ca) != 1)
		return why_ssl(why, len, "authority", f->ca);
	if (!f->ca && !f->server && SSL_CTX_set_default_verify_paths(ctx) != 1)
		return why_ssl(why, len, "authorities", "of the system");
	if (!f->server || f->ca)
		mode |= SSL_VERIFY_PEER;
	if (f->server && f->ca) {
		STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(f->ca);

		if (!names)
			return why_ssl(why, len, "authority", f->ca);
		SSL_CTX_set_client_CA_list(ctx, names);
		/* Each handshake shows its certificate anew: a resumed session would outlive it. */
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
		SSL_CTX_set_num_tickets(ctx, 0);
	}
	if (f->require_client)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_verify(ctx, mode, NULL);
	return 0;
}

/* Ours is the order (RFC 7301 section 3.2). */
static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned int in_len, void *arg)
{
	const struct alpn_list *alpn = arg;
	unsigned char *found;

	(void)ssl;
	if (SSL_select_next_proto(&found, out_len, alpn->wire, alpn->len, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = found;
	return SSL_TLSEXT_ERR_OK;
}

static int set_alpn(SSL_CTX *ctx, struct alpn_list *alpn, const struct conn_tls_files *f, char *why,
		    size_t len)
{
	for (const char *const *name = f->alpn; name && *name; name++) {
		size_t n = strlen(*name);

		if (!n || n > 255 || alpn->len + 1 + n > sizeof(alpn->wire)) {
			snprintf(why, len, "the ALPN name %s is too long", *name);
			return -EINVAL;
		}
		alpn->wire[alpn->len++] = (unsigned char)n;
		memcpy(alpn->wire + alpn->len, *name, n);
		alpn->len += (unsigned int)n;
	}
	if (!alpn->len)
		return 0;
	if (f->server)
		SSL_CTX_set_alpn_select_cb(ctx, alpn_select, alpn);
	else if (SSL_CTX_set_alpn_protos(ctx, alpn->wire, alpn->len) != 0)
		return -ENOMEM;
	return 0;
}

/* AES-128-GCM is the cheapest where the processor knows AES (3.9 GB/s a core measured), ChaCha20
 * where it does not. */
static const char *suites13(void)
{
#if defined(__x86_64__) || defined(__i386__)
	if (!__builtin_cpu_supports("aes"))
		return "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384";
#endif
	return "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";
}

/* Not what the system's openssl.cnf says: SHA-1 and SHA-224 sign nothing here. */
#define SIGNATURES                                                                                 \
	"ECDSA+SHA256:ed25519:RSA-PSS+SHA256:RSA+SHA256:ECDSA+SHA384:RSA-PSS+SHA384:RSA+SHA384:"   \
	"ECDSA+SHA512:RSA-PSS+SHA512:RSA+SHA512:rsa_pss_pss_sha256:rsa_pss_pss_sha384:"            \
	"rsa_pss_pss_sha512:ed448"

static int set_rules(SSL_CTX *ctx, const struct conn_tls_files *f)
{
	unsigned char id[16]; /* sessions of another context are not resumed in this one */

	if (RAND_bytes(id, sizeof(id)) != 1 ||
	    !SSL_CTX_set_min_proto_version(ctx, f->tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION) ||
	    !SSL_CTX_set_cipher_list(ctx,
				     "ECDHE+AESGCM+AES128:ECDHE+CHACHA20:ECDHE+AESGCM+AES256") ||
	    !SSL_CTX_set_ciphersuites(ctx, suites13()) ||
	    !SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") ||
	    !SSL_CTX_set1_sigalgs_list(ctx, SIGNATURES) ||
	    !SSL_CTX_set_session_id_context(ctx, id, sizeof(id)))
		return -EINVAL;
	/* A client whose first wish is ChaCha20 has no AES in its processor. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, f->server ? 1 : 0);
	return 0;
}

int conn_tls_new(SSL_CTX **out, const struct conn_tls_files *files, char *why, size_t why_len)
{
	SSL_CTX *ctx = SSL_CTX_new(files->server ? TLS_server_method() : TLS_client_method());
	struct alpn_list *alpn = calloc(1, sizeof(*alpn));
	int err = 0;

	pthread_once(&once, make_once);
	snprintf(why, why_len, "out of memory");
	if (!ctx || !alpn || !SSL_CTX_set_ex_data(ctx, alpn_index, alpn)) {
		free(alpn);
		SSL_CTX_free(ctx);
		ERR_clear_error();
		return -ENOMEM;
	}
	err = set_rules(ctx, files);
	if (err)
		why_ssl(why, why_len, "TLS", "settings");
	if (!err)
		err = load_certificate(ctx, files, why, why_len);
	if (!err)
		err = load_authorities(ctx, files, why, why_len);
	if (!err)
		err = set_alpn(ctx, alpn, files, why, why_len);
	ERR_clear_error();
	if (err) {
		SSL_CTX_free(ctx);
		return err;
	}
	*out = ctx;
	return 0;
}

#define TICKET_KEYS 80 /* name, HMAC and AES, as OpenSSL 3.0 wants them */

void conn_tls_new_tickets(SSL_CTX *ctx)
{
	unsigned char keys[TICKET_KEYS];

	if (RAND_bytes(keys, sizeof(keys)) == 1)
		SSL_CTX_set_tlsext_ticket_keys(ctx, keys, sizeof(keys));
	OPENSSL_cleanse(keys, sizeof(keys));
	ERR_clear_error();
}
