// SPDX-License-Identifier: Apache-2.0
/*
 * front_tls.c -- certificates by the names that they bear, and certificates of clients.
 *
 * A context a certificate; the first of the configuration serves who names no host, or none that is
 * known. A reload makes all of them anew: connections hold the ones that they began with.
 */
#include <ctype.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "user/tunnel/cert.h"
#include "user/tunnel/front_impl.h"

struct name {
	char *host; /* lower case; of a wildcard what follows "*." */
	bool wildcard;
	SSL_CTX *ctx; /* not held: the certificate's */
};

struct certificates {
	SSL_CTX **ctx;
	char **subject; /* what is shown in the status: its first name */
	time_t *until;
	size_t n;
	struct name *names; /* sorted */
	size_t nnames;
};

/* ---- reading --------------------------------------------------------------------------------- */

static int add_name(struct certificates *all, const char *text, size_t len, SSL_CTX *ctx)
{
	struct name *names = reallocarray(all->names, all->nnames + 1, sizeof(*names)), *name;

	if (!names)
		return -ENOMEM;
	all->names = names;
	name = &names[all->nnames];
	*name = (struct name){ .ctx = ctx };
	if (len > 2 && !memcmp(text, "*.", 2)) {
		name->wildcard = true;
		text += 2;
		len -= 2;
	}
	name->host = strndup(text, len);
	if (!name->host)
		return -ENOMEM;
	for (char *p = name->host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	all->nnames++;
	return 0;
}

/* Its DNS names (RFC 6125 section 6.4: the common name does not count when there are such). */
static int add_names(struct certificates *all, X509 *cert, SSL_CTX *ctx)
{
	GENERAL_NAMES *alt = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t before = all->nnames;
	char common[256];
	int rc = 0, n;

	for (int i = 0; i < sk_GENERAL_NAME_num(alt) && !rc; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(alt, i);

		if (g->type == GEN_DNS)
			rc = add_name(all, (const char *)ASN1_STRING_get0_data(g->d.dNSName),
				      (size_t)ASN1_STRING_length(g->d.dNSName), ctx);
	}
	GENERAL_NAMES_free(alt);
	if (rc || all->nnames > before)
		return rc;
	n = X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, common,
				      sizeof(common));
	return n > 0 ? add_name(all, common, (size_t)n, ctx) : 0;
}

static int add(struct certificates *all, const struct conf_certificate *conf)
{
	static const char *const alpn[] = { "h2", "http/1.1", NULL };
	struct conn_tls_files files = {
		.cert = conf->cert, .key = conf->key, .server = true, .alpn = alpn
	};
	size_t before = all->nnames;
	char why[256];
	X509 *cert;
	int rc;

	rc = conn_tls_new(&all->ctx[all->n], &files, why, sizeof(why));
	if (rc) {
		log_error("edge.certificates: %s", why);
		return rc;
	}
	cert = SSL_CTX_get0_certificate(all->ctx[all->n]);
	all->until[all->n] = cert_time(X509_get0_notAfter(cert));
	rc = add_names(all, cert, all->ctx[all->n]);
	if (!rc && all->nnames == before) {
		log_error("edge.certificates: %s bears no host name", conf->cert);
		rc = -EINVAL;
	}
	if (!rc && asprintf(&all->subject[all->n], "%s%s", all->names[before].wildcard ? "*." : "",
			    all->names[before].host) < 0) {
		all->subject[all->n] = NULL;
		rc = -ENOMEM;
	}
	all->n++; /* also when it failed: it is freed with the others */
	return rc;
}

static int compare(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	int by_host = strcmp(x->host, y->host);

	return by_host ? by_host : (int)x->wildcard - (int)y->wildcard;
}

int certificates_new(struct certificates **out, const struct conf_edge *conf)
{
	struct certificates *all = calloc(1, sizeof(*all));
	size_t n = conf->ncertificates + 1;
	int rc = 0;

	if (!all)
		return -ENOMEM;
	all->ctx = calloc(n, sizeof(*all->ctx));
	all->subject = calloc(n, sizeof(*all->subject));
	all->until = calloc(n, sizeof(*all->until));
	if (!all->ctx || !all->subject || !all->until)
		rc = -ENOMEM;
	for (size_t i = 0; i < conf->ncertificates && !rc; i++)
		rc = add(all, &conf->certificates[i]);
	if (rc) {
		certificates_free(all);
		return rc;
	}
	if (all->nnames)
		qsort(all->names, all->nnames, sizeof(*all->names), compare);
	*out = all;
	return 0;
}

void certificates_free(struct certificates *all)
{
	if (!all)
		return;
	for (size_t i = 0; i < all->n; i++) {
		SSL_CTX_free(all->ctx[i]);
		free(all->subject[i]);
	}
	for (size_t i = 0; i < all->nnames; i++)
		free(all->names[i].host);
	free(all->ctx);
	free(all->subject);
	free(all->until);
	free(all->names);
	free(all);
}

void certificates_new_tickets(struct certificates *all)
{
	for (size_t i = 0; i < all->n; i++)
		conn_tls_new_tickets(all->ctx[i]);
}

/* ---- finding --------------------------------------------------------------------------------- */

static SSL_CTX *find(const struct certificates *all, const char *host, bool wildcard)
{
	const struct name key = { .host = (char *)host, .wildcard = wildcard }, *found;

	found = all->nnames ? bsearch(&key, all->names, all->nnames, sizeof(*all->names), compare)
			    : NULL;
	return found ? found->ctx : NULL;
}

SSL_CTX *certificates_find(const struct certificates *all, const char *host)
{
	const char *dot = strchr(host, '.');
	SSL_CTX *ctx = find(all, host, false);

	if (!ctx && dot)
		ctx = find(all, dot + 1, true);
	return ctx ? ctx : all->n ? all->ctx[0] : NULL;
}

json_t *certificates_status(const struct certificates *all)
{
	json_t *list = json_array();

	for (size_t i = 0; i < all->n; i++)
		json_array_append_new(list, json_pack("{s:s, s:I}", "name", all->subject[i],
						      "until", (json_int_t)all->until[i]));
	return list;
}

/* ---- clients' certificates ------------------------------------------------------------------- */

/* The tunnel's client_ca as OpenSSL wants it; kept until the tunnel changes. */
static int read_clients(struct site *site)
{
	const struct tunnel *t = &site->t->t;
	BIO *in = BIO_new_mem_buf(t->client_ca, -1);
	X509_STORE *store = X509_STORE_new();
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
	X509 *cert;
	int n = 0, ok = in && store && names;

	while (ok && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
		X509_NAME *name = X509_NAME_dup(X509_get_subject_name(cert));

		ok = X509_STORE_add_cert(store, cert) && name && sk_X509_NAME_push(names, name);
		if (!ok)
			X509_NAME_free(name);
		X509_free(cert);
		n++;
	}
	BIO_free(in);
	if (!ok || !n) {
		log_limited(LOG_LEVEL_WARN, 2, "tunnel %s: its client_ca holds no certificate",
			    t->name);
		X509_STORE_free(store);
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return -EINVAL;
	}
	X509_STORE_free(site->clients);
	sk_X509_NAME_pop_free(site->client_names, X509_NAME_free);
	site->clients = store;
	site->client_names = names;
	site->generation = t->generation;
	return 0;
}

int client_ask_certificate(struct client *c, SSL *ssl, struct site *site)
{
	STACK_OF(X509_NAME) * names;
	int rc = 0;

	if (!site->clients || site->generation != site->t->t.generation)
		rc = read_clients(site);
	if (rc)
		return rc;
	names = sk_X509_NAME_deep_copy(site->client_names, X509_NAME_dup, X509_NAME_free);
	if (!names || !SSL_set1_verify_cert_store(ssl, site->clients)) {
		sk_X509_NAME_pop_free(names, X509_NAME_free);
		return -ENOMEM;
	}
	SSL_set0_CA_list(ssl, names);
	SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	/* What one tunnel's clients showed opens no other tunnel, and nothing after a change of the
	 * authority: no session of this connection is ever resumed. */
	SSL_set_options(ssl, SSL_OP_NO_TICKET);
	SSL_set_num_tickets(ssl, 0);
	if (!SSL_set_session_id_context(ssl, (const unsigned char *)site->t->t.name,
					(unsigned int)strnlen(site->t->t.name, 32)))
		return -ENOMEM;
	c->shown = site->t;
	c->shown_generation = site->generation;
	site->t->users++;
	return 0;
}

SSL *client_ssl(const struct client *c)
{
	if (!c->tls)
		return NULL;
	return conn_tls(c->state == CLIENT_HTTP1   ? h1_server_conn(c->h1)
			: c->state == CLIENT_HTTP2 ? h2_conn(c->h2)
						   : c->conn);
}

bool client_serves_name(const struct client *c, const char *host)
{
	SSL *ssl = client_ssl(c);
	X509 *cert = ssl ? SSL_get_certificate(ssl) : NULL;

	if (!ssl || (c->server_name && !strcmp(c->server_name, host)))
		return true;
	return cert && X509_check_host(cert, host, strlen(host), 0, NULL) == 1;
}
