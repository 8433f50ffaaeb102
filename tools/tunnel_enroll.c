// SPDX-License-Identifier: Apache-2.0
/*
 * tunnel_enroll.c -- `weir tunnel enroll`: from a token that is good once to a key and a
 * certificate, on the machine where the origin runs.
 *
 * The key is made here and never leaves. The token holds the fingerprint of the installation's
 * authority: what listens at the edge's address must show a certificate of that authority before
 * the token's secret is sent. Everything is written only when all of it is there.
 */
#include "tools/tunnel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/hash.h"
#include "lib/tunnels.h"
#include "tools/cmd.h"

#define ENROLL_PATH  "/_/tunnel/enroll"
#define ANSWER_MAX   (256u << 10)
#define CONNECT_S    10
#define ANSWER_S     45 /* the authority may take a while, at most 30 s */
#define DEFAULT_PORT "7443"

struct enrolment {
	struct tunnel_token token;
	const char *edge; /* HOST:PORT */
	char host[256], port[8];
	char dir[PATH_MAX - 64];
	EVP_PKEY *key;
	char *csr;
	SSL_CTX *ctx;
	SSL *tls;
	X509 *ca; /* the one of the fingerprint */
	json_t *answer;
};

static const struct cmd enroll_cmd = {
	"tunnel enroll", "TOKEN|- --edge HOST:PORT [--dir DIR]",
	"Make this machine an origin of a tunnel",
	"  TOKEN           what `weir tunnel create` printed; - reads it from standard input, so "
	"that\n"
	"                  no other user sees it\n"
	"  --edge H:P      the attach listener of an edge\n"
	"  --dir DIR       where key.pem, cert.pem, ca.pem and tunnel.json go\n"
	"                  (/var/lib/weir/tunnels/NAME, or ~/.config/weir/tunnels/NAME)\n"
	"  --json          one JSON text\n\n"
	"example: weir tunnel enroll - --edge edge.example:7400 <token\n",
	NULL
};

static const char *ssl_why(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	return text ? text : "no reason was given";
}

/* ---- what was typed ---- */

static int read_token(struct enrolment *e, const char *arg)
{
	char text[256];

	if (strcmp(arg, "-")) {
		snprintf(text, sizeof(text), "%s", arg);
	} else {
		if (isatty(STDIN_FILENO))
			fputs("token: ", stderr);
		if (!fgets(text, sizeof(text), stdin))
			return cmd_fail("there is no token on standard input");
		text[strcspn(text, " \t\r\n")] = '\0';
	}
	if (tunnel_token_parse(&e->token, text))
		return cmd_fail("that is no token; it looks like weirt1.NAME.SECRET.FINGERPRINT "
				"and is printed by "
				"`weir tunnel create NAME --hostname H` where the registry is");
	OPENSSL_cleanse(text, sizeof(text));
	return CMD_OK;
}

static int read_edge(struct enrolment *e)
{
	const char *text = e->edge, *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);

	if (*text == '[') { /* [2001:db8::1]:7443 */
		const char *end = strchr(text, ']');

		if (!end || (end[1] && end[1] != ':'))
			return cmd_fail("--edge %s: write [ADDRESS]:PORT", text);
		colon = end[1] ? end + 1 : NULL;
		text++;
		len = (size_t)(end - text);
	} else if (colon && memchr(text, ':', len)) {
		return cmd_fail(
			"--edge %s: an IPv6 address stands in brackets, as in [2001:db8::1]:7443",
			text);
	}
	if (!len || len >= sizeof(e->host))
		return cmd_fail("--edge %s: write HOST:PORT", e->edge);
	snprintf(e->host, sizeof(e->host), "%.*s", (int)len, text);
	snprintf(e->port, sizeof(e->port), "%.7s", colon ? colon + 1 : "");
	if (!*e->port || strspn(e->port, "0123456789") != strlen(e->port))
		return cmd_fail("--edge %s: names no port; it is that of `edge.attach` in the "
				"edge's weir.yaml, as in "
				"%s:" DEFAULT_PORT,
				e->edge, e->host);
	return CMD_OK;
}

/* ---- key and request ---- */

static int make_request(struct enrolment *e)
{
	X509_REQ *req = X509_REQ_new();
	BIO *out = BIO_new(BIO_s_mem());
	char *text;
	long len;
	int rc = CMD_FAILED;

	e->key = EVP_EC_gen("P-256");
	if (e->key && req && out && X509_REQ_set_pubkey(req, e->key) &&
	    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_UTF8,
				       (const unsigned char *)e->token.name, -1, -1, 0) &&
	    X509_REQ_sign(req, e->key, EVP_sha256()) && PEM_write_bio_X509_REQ(out, req)) {
		len = BIO_get_mem_data(out, &text);
		e->csr = strndup(text, (size_t)len);
		rc = e->csr ? CMD_OK : CMD_FAILED;
	}
	if (rc)
		cmd_fail("cannot make a key: %s", ssl_why());
	BIO_free(out);
	X509_REQ_free(req);
	return rc;
}

/* The token is good once: what will be needed is tried before it is spent. */
static int try_folder(const struct enrolment *e)
{
	char path[PATH_MAX];
	int err = tunnel_make_folder(e->dir), fd;

	if (err)
		return cmd_fail("%s: cannot be made: %s; name another folder with --dir", e->dir,
				strerror(-err));
	snprintf(path, sizeof(path), "%s/key.pem.new", e->dir);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return cmd_fail("%s: %s; name another folder with --dir", path, strerror(errno));
	close(fd);
	unlink(path);
	return CMD_OK;
}

/* ---- the edge ---- */

static int dial_one(const struct addrinfo *ai)
{
	struct timeval connect_s = { .tv_sec = CONNECT_S }, answer_s = { .tv_sec = ANSWER_S };
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &connect_s, sizeof(connect_s));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer_s, sizeof(answer_s));
	if (connect(fd, ai->ai_addr, ai->ai_addrlen)) {
		int err = errno == EINPROGRESS ? -ETIMEDOUT : -errno;

		close(fd);
		return err;
	}
	return fd;
}

static int dial(const struct enrolment *e)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list;
	int rc = getaddrinfo(e->host, e->port, &hints, &list), fd = -EHOSTUNREACH;

	if (rc)
		return cmd_fail("--edge %s: %s", e->edge,
				rc == EAI_NONAME ? "the name is not known; check its spelling"
						 : gai_strerror(rc)),
		       -1;
	for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = dial_one(ai);
	freeaddrinfo(list);
	if (fd < 0)
		cmd_fail("the edge %s cannot be reached: %s; is the port that of `edge.attach`, "
			 "and may this machine dial "
			 "out to it?",
			 e->edge, strerror(-fd));
	return fd;
}

/* The certificate of the chain that the token's fingerprint means; its own reference. */
static X509 *find_ca(SSL *tls, const char *fingerprint)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(tls);

	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *x = sk_X509_value(chain, i);
		unsigned char md[EVP_MAX_MD_SIZE];
		unsigned int len;
		char hex[2 * EVP_MAX_MD_SIZE + 1];

		if (!X509_digest(x, EVP_sha256(), md, &len))
			continue;
		hex_encode(md, len, hex);
		if (!CRYPTO_memcmp(hex, fingerprint, 64) && X509_check_ca(x)) {
			X509_up_ref(x);
			return x;
		}
	}
	return NULL;
}

/* Does the peer's certificate come from that authority, and is it a node's? Those are servers' and
 * clients'; one of `weir ca host`, a server's alone, may be anybody's. */
static bool verify_leaf(SSL *tls, X509 *ca, const char **why)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509 *leaf = SSL_get0_peer_certificate(tls);
	bool ok = false;

	*why = "no memory";
	if (store && ctx && leaf && X509_STORE_add_cert(store, ca) &&
	    X509_STORE_CTX_init(ctx, store, leaf, SSL_get_peer_cert_chain(tls)) &&
	    X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER)) {
		ok = X509_verify_cert(ctx) == 1;
		*why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx));
	}
	if (ok && !(X509_get_extended_key_usage(leaf) & XKU_SSL_CLIENT)) {
		ok = false;
		*why = "it is for a server alone, not for a node of the installation";
	}
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return ok;
}

/* Nothing secret is sent before this returned CMD_OK. */
static int know_edge(struct enrolment *e)
{
	const char *why;

	e->ca = find_ca(e->tls, e->token.fingerprint);
	if (!e->ca)
		return cmd_fail("%s is no edge of the installation that made this token: the "
				"authority with fingerprint "
				"%.16s… is not in its certificate's chain. The token was not sent. "
				"Is it the right edge, "
				"and does `tls.cert` there hold the chain with ca.pem?",
				e->edge, e->token.fingerprint);
	if (!verify_leaf(e->tls, e->ca, &why))
		return cmd_fail("%s: its certificate is not good: %s. The token was not sent.",
				e->edge, why);
	return CMD_OK;
}

static int shake_hands(struct enrolment *e, int fd)
{
	static const unsigned char alpn[] = "\x08http/1.1";

	e->ctx = SSL_CTX_new(TLS_client_method());
	e->tls = e->ctx ? SSL_new(e->ctx) : NULL;
	if (!e->tls) {
		close(fd);
		return cmd_fail("cannot begin TLS: %s", ssl_why());
	}
	/* know_edge() verifies, by the fingerprint instead of a name. */
	SSL_set_verify(e->tls, SSL_VERIFY_NONE, NULL);
	SSL_set_min_proto_version(e->tls, TLS1_3_VERSION);
	SSL_set_alpn_protos(e->tls, alpn, sizeof(alpn) - 1);
	SSL_set0_rbio(e->tls, BIO_new_socket(fd, BIO_CLOSE));
	BIO_up_ref(SSL_get_rbio(e->tls));
	SSL_set0_wbio(e->tls, SSL_get_rbio(e->tls));
	if (SSL_connect(e->tls) != 1)
		return cmd_fail("%s: no TLS 1.3 handshake: %s; is the port that of `edge.attach`?",
				e->edge, ssl_why());
	return know_edge(e);
}

/* ---- asking ---- */

static int ask(struct enrolment *e)
{
	json_t *body = json_pack("{ss ss ss}", "tunnel", e->token.name, "secret", e->token.secret,
				 "csr", e->csr);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL, *all = NULL;
	int len = -1, rc = CMD_FAILED;

	if (text)
		len = asprintf(&all,
			       "POST " ENROLL_PATH
			       " HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
			       "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
			       e->edge, strlen(text), text);
	if (len > 0)
		rc = SSL_write(e->tls, all, len) == len
			     ? CMD_OK
			     : cmd_fail("%s: cannot send: %s", e->edge, ssl_why());
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	if (len > 0)
		OPENSSL_cleanse(all, (size_t)len);
	free(text);
	free(all);
	json_decref(body);
	return rc;
}

/* The whole answer, until the edge closes; malloc'ed and terminated. */
static char *read_answer(struct enrolment *e)
{
	char *text = malloc(ANSWER_MAX + 1), *body, *length;
	size_t len = 0;
	int n;

	while (text && len < ANSWER_MAX &&
	       (n = SSL_read(e->tls, text + len, (int)(ANSWER_MAX - len))) > 0) {
		len += (size_t)n;
		text[len] = '\0';
		body = strstr(text, "\r\n\r\n");
		length = body ? strcasestr(text, "\r\ncontent-length:") : NULL;
		if (length && length < body &&
		    len >= (size_t)(body + 4 - text) + strtoul(length + 17, NULL, 10))
			break;
	}
	if (!len) {
		free(text);
		cmd_fail("%s: no answer within %d s%s", e->edge, ANSWER_S,
			 "; does `weir-tunnel authority` run where the CA's key is?");
		return NULL;
	}
	return text;
}

static int take_answer(struct enrolment *e)
{
	char *text = read_answer(e), *body;
	unsigned int status = 0;
	int rc = CMD_FAILED;

	if (!text)
		return CMD_FAILED;
	body = strstr(text, "\r\n\r\n");
	if (sscanf(text, "HTTP/1.%*1[01] %3u", &status) != 1 || !body) {
		cmd_fail("%s: what answers is no edge", e->edge);
	} else {
		e->answer = json_loads(body + 4, 0, NULL);
		if (status != 200)
			cmd_fail("the edge %s refuses: %s", e->edge,
				 js_text(e->answer, "error",
					 status == 404 ? "it has no enrolment; is the port that of "
							 "`edge.attach`?"
						       : "it did not say why"));
		else if (!js_text(e->answer, "cert", NULL))
			cmd_fail("%s: the answer holds no certificate", e->edge);
		else
			rc = CMD_OK;
	}
	free(text);
	return rc;
}

/* The certificate must be for the key that was made, or nothing would work later. */
static int check_answer(const struct enrolment *e)
{
	const char *pem = js_text(e->answer, "cert", "");
	BIO *in = BIO_new_mem_buf(pem, -1);
	X509 *x = in ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;
	bool ok = x && X509_check_private_key(x, e->key);

	X509_free(x);
	BIO_free(in);
	return ok ? CMD_OK
		  : cmd_fail("%s: the certificate that came is not for the key that was made",
			     e->edge);
}

/* ---- writing ---- */

static int write_new(const struct enrolment *e, const char *name, mode_t mode, const char *text)
{
	char path[PATH_MAX];
	int fd;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.new", e->dir, name);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f)
		return cmd_fail("%s: %s", path, strerror(errno));
	fputs(text, f);
	if (fflush(f) || fsync(fd)) {
		fclose(f);
		return cmd_fail("%s: %s", path, strerror(errno));
	}
	fclose(f);
	return CMD_OK;
}

static char *pem_of(const struct enrolment *e, bool key)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *data, *text = NULL;
	long len;

	if (out && (key ? PEM_write_bio_PrivateKey(out, e->key, NULL, NULL, 0, NULL, NULL)
			: PEM_write_bio_X509(out, e->ca))) {
		len = BIO_get_mem_data(out, &data);
		text = strndup(data, (size_t)len);
	}
	BIO_free(out);
	return text;
}

/* {"tunnel","edges"}: the edge that was dialled. A name stands for whoever is behind it in time to
 * come; a single address may be away at the next start, so that those it told of are kept beside
 * it. */
static char *about(const struct enrolment *e)
{
	json_t *edges = json_array(), *all, *one;
	struct addr_port address;
	char *text;
	size_t i;

	json_array_append_new(edges, json_string(e->edge));
	json_array_foreach (json_object_get(e->answer, "edges"), i, one)
		if (!addr_port_parse(&address, e->edge) && json_is_string(one) &&
		    strcmp(json_string_value(one), e->edge))
			json_array_append(edges, one);
	all = json_pack("{ss so}", "tunnel", e->token.name, "edges", edges);
	text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
	json_decref(all);
	return text;
}

/* Started as root: the daemons' user reads them when a reload takes new ones. */
static void give(const struct enrolment *e, const char *path)
{
	struct passwd *user = geteuid() ? NULL : getpwnam("weir");

	(void)e;
	if (user && lchown(path, user->pw_uid, user->pw_gid))
		cmd_fail("%s: cannot be given to user weir: %s", path, strerror(errno));
}

static int write_all(const struct enrolment *e)
{
	char *key = pem_of(e, true), *ca = pem_of(e, false), *json = about(e);
	const struct {
		const char *name, *text;
		mode_t mode;
	} files[] = {
		{ "key.pem", key, 0600 },
		{ "cert.pem", js_text(e->answer, "cert", ""), 0644 },
		{ "ca.pem", ca, 0644 },
		{ "tunnel.json", json, 0644 },
	};
	char from[PATH_MAX], to[PATH_MAX];
	int rc = key && ca && json ? CMD_OK : cmd_fail("out of memory");

	for (size_t i = 0; !rc && i < 4; i++)
		rc = write_new(e, files[i].name, files[i].mode, files[i].text);
	for (size_t i = 0; !rc && i < 4; i++) {
		snprintf(from, sizeof(from), "%s/%s.new", e->dir, files[i].name);
		snprintf(to, sizeof(to), "%s/%s", e->dir, files[i].name);
		give(e, from);
		if (rename(from, to))
			rc = cmd_fail("%s: %s", to, strerror(errno));
	}
	give(e, e->dir);
	if (key)
		OPENSSL_cleanse(key, strlen(key));
	free(key);
	free(ca);
	free(json);
	return rc;
}

static int report(const struct enrolment *e, bool json)
{
	char base[PATH_MAX];
	size_t len = strlen(tunnel_folders(base, sizeof(base)));
	bool usual = !strncmp(e->dir, base, len) && e->dir[len] == '/' &&
		     !strcmp(e->dir + len + 1, e->token.name);

	if (json)
		return cmd_print_json(json_pack("{ss ss}", "tunnel", e->token.name, "dir", e->dir));
	printf("tunnel %s: key and certificate are in %s\n", e->token.name, e->dir);
	printf("next: weir tunnel run %s%s --to http://127.0.0.1:8080\n",
	       usual ? e->token.name : "--dir ", usual ? "" : e->dir);
	return CMD_OK;
}

static void enrolment_clear(struct enrolment *e)
{
	OPENSSL_cleanse(&e->token, sizeof(e->token));
	EVP_PKEY_free(e->key);
	X509_free(e->ca);
	SSL_free(e->tls);
	SSL_CTX_free(e->ctx);
	json_decref(e->answer);
	free(e->csr);
}

static int enroll(struct enrolment *e, bool json)
{
	int rc = make_request(e), fd;

	if (!rc)
		rc = try_folder(e);
	if (rc)
		return rc;
	fd = dial(e);
	if (fd < 0)
		return CMD_FAILED;
	rc = shake_hands(e, fd);
	if (!rc)
		rc = ask(e);
	if (!rc)
		rc = take_answer(e);
	if (!rc)
		rc = check_answer(e);
	if (!rc)
		rc = write_all(e);
	return rc ? rc : report(e, json);
}

int tunnel_enroll(int argc, char **argv)
{
	struct enrolment e = { 0 };
	struct cmd_options opt = { 0 };
	const char *dir = NULL;
	const struct cmd_flag flags[] = { { "--edge", &e.edge, NULL },
					  { "--dir", &dir, NULL },
					  { NULL, NULL, NULL } };
	char base[PATH_MAX - 128];
	int n = cmd_parse(&enroll_cmd, argc, argv, &opt, flags), rc;

	if (n < 0)
		return cmd_exit_of(n);
	if (n != 1)
		return cmd_usage(&enroll_cmd, n ? "one token, please" : "the token is missing");
	if (!e.edge)
		return cmd_usage(&enroll_cmd,
				 "--edge HOST:PORT is missing: the attach listener of an edge");
	rc = read_edge(&e);
	if (!rc)
		rc = read_token(&e, argv[0]);
	if (!rc) {
		if (dir)
			snprintf(e.dir, sizeof(e.dir), "%s", dir);
		else
			snprintf(e.dir, sizeof(e.dir), "%s/%s", tunnel_folders(base, sizeof(base)),
				 e.token.name);
		rc = enroll(&e, opt.json);
	}
	enrolment_clear(&e);
	return rc;
}
