/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ca.c -- `weir ca`: the small certificate authority of an installation, by which daemons on
 * different machines know each other.
 *
 * P-256 keys (RFC 5480). An authority's key stays in one file that only its owner may read; it is
 * needed to issue, never to verify. ca.pem signs nodes, origins.pem the origins of tunnels. A
 * node's certificate carries its name and addresses and serves as server and as client.
 */
#include "tools/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/addr.h"
#include "lib/tunnels.h"

#define CA_DAYS	  3650
#define NODE_DAYS 825

static const char *ssl_why(void)
{
	const char *text = ERR_reason_error_string(ERR_get_error());

	return text ? text : "no reason was given";
}

/* A new file that must not exist yet; mode 0600 for keys. */
static FILE *create(const char *path, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	return fd < 0 ? NULL : fdopen(fd, "w");
}

static int write_pair(const char *dir, const char *name, X509 *cert, EVP_PKEY *key)
{
	char path[PATH_MAX];
	FILE *out;
	int ok;

	snprintf(path, sizeof(path), "%s/%s.key", dir, name);
	out = create(path, 0600);
	if (!out)
		return cmd_fail("%s: %s", path,
				errno == EEXIST ? "exists already; remove it to make a new one"
						: strerror(errno));
	ok = PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
	if (fclose(out) || !ok)
		return cmd_fail("%s: cannot write the key: %s", path,
				ok ? strerror(errno) : ssl_why());
	snprintf(path, sizeof(path), "%s/%s.pem", dir, name);
	unlink(path);
	out = create(path, 0644);
	if (!out)
		return cmd_fail("%s: %s", path, strerror(errno));
	ok = PEM_write_X509(out, cert);
	if (fclose(out) || !ok)
		return cmd_fail("%s: cannot write the certificate: %s", path,
				ok ? strerror(errno) : ssl_why());
	return CMD_OK;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool ok;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

/* An unsigned certificate: random serial, valid from an hour ago (clocks differ). */
static X509 *new_cert(const char *cn, long days, EVP_PKEY *key)
{
	X509 *cert = X509_new();
	unsigned char serial[16];
	BIGNUM *bn;

	if (!cert || RAND_bytes(serial, sizeof(serial)) != 1)
		abort();
	serial[0] &= 0x7f;
	bn = BN_bin2bn(serial, sizeof(serial), NULL);
	BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
	BN_free(bn);
	X509_set_version(cert, X509_VERSION_3);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), days * 86400);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
				   (const unsigned char *)cn, -1, -1, 0);
	return cert;
}

/* A self-signed authority that signs leaves only: FILE.pem and FILE.key. */
static int make_authority(const char *dir, const char *file, const char *cn)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert;
	int rc;

	if (!key)
		return cmd_fail("cannot make a key: %s", ssl_why());
	cert = new_cert(cn, CA_DAYS, key);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	if (add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	    add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	    add_extension(cert, cert, NID_subject_key_identifier, "hash") &&
	    X509_sign(cert, key, EVP_sha256()))
		rc = write_pair(dir, file, cert, key);
	else
		rc = cmd_fail("cannot sign: %s", ssl_why());
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

static bool has_pair(const char *dir, const char *file)
{
	char pem[PATH_MAX], key[PATH_MAX];

	snprintf(pem, sizeof(pem), "%s/%s.pem", dir, file);
	snprintf(key, sizeof(key), "%s/%s.key", dir, file);
	return !access(pem, F_OK) || !access(key, F_OK);
}

/* Two authorities, so that an origin's certificate is never taken for a node's. What a folder has
 * already stays: one that was made before there were tunnels gets the second. */
static int ca_init(const char *dir, const char *name)
{
	char origins[64 + 1]; /* the longest common name (RFC 5280, ub-common-name) */
	bool nodes = has_pair(dir, "ca"), both = nodes && has_pair(dir, "origins");
	int rc = CMD_OK;

	if (mkdir(dir, 0755) && errno != EEXIST)
		return cmd_fail("%s: %s", dir, strerror(errno));
	if (both)
		return cmd_fail("%s/ca.key: exists already, as does origins.key; remove a pair to "
				"make a new one",
				dir);
	if (strlen(name) > sizeof(origins) - 1 - strlen(", origins"))
		return cmd_fail("--name %s: is too long, 55 bytes at most", name);
	snprintf(origins, sizeof(origins), "%s, origins", name);
	if (!nodes) {
		rc = make_authority(dir, "ca", name);
		if (!rc)
			printf("%s/ca.pem made; %s/ca.key signs for the installation: keep it on "
			       "this machine, for its owner alone\n",
			       dir, dir);
	}
	if (!rc && !has_pair(dir, "origins")) {
		rc = make_authority(dir, "origins", origins);
		if (!rc)
			printf("%s/origins.pem made; %s/origins.key signs origins of tunnels "
			       "(authority: folder in weir.yaml)\n",
			       dir, dir);
	}
	return rc;
}

static int load_ca(const char *dir, X509 **cert, EVP_PKEY **key)
{
	char path[PATH_MAX];
	FILE *in;

	snprintf(path, sizeof(path), "%s/ca.pem", dir);
	in = fopen(path, "re");
	*cert = in ? PEM_read_X509(in, NULL, NULL, NULL) : NULL;
	if (in)
		fclose(in);
	if (!*cert)
		return cmd_fail("%s: cannot be read; `weir ca init %s` makes a new authority", path,
				dir);
	snprintf(path, sizeof(path), "%s/ca.key", dir);
	in = fopen(path, "re");
	*key = in ? PEM_read_PrivateKey(in, NULL, NULL, NULL) : NULL;
	if (in)
		fclose(in);
	return *key ? CMD_OK : cmd_fail("%s: cannot be read: %s", path, strerror(errno));
}

/* "DNS:node,IP:…": every address is checked here, so that none smuggles another name in. */
static int alt_names(char *out, size_t len, const char *node, char **addresses, int n)
{
	size_t at = (size_t)snprintf(out, len, "DNS:%s", node);

	for (int i = 0; i < n; i++) {
		char text[ADDR_STRLEN];
		struct addr a;

		if (addr_parse(&a, addresses[i]))
			return cmd_fail("%s is no address; give the ones on which the node "
					"listens, such as 198.18.1.11",
					addresses[i]);
		at += (size_t)snprintf(out + at, len - at, ",IP:%s",
				       addr_format(&a, text, sizeof(text)));
		if (at >= len)
			return cmd_fail("so many addresses do not fit into one certificate");
	}
	return CMD_OK;
}

/* A pair DIR/FILE.pem and .key, signed by the nodes' authority. */
static int issue(const char *dir, const char *file, const char *cn, const char *uses,
		 const char *names)
{
	EVP_PKEY *key = NULL, *ca_key = NULL;
	X509 *cert = NULL, *ca = NULL;
	int rc = load_ca(dir, &ca, &ca_key);

	if (!rc) {
		key = EVP_EC_gen("P-256");
		cert = new_cert(cn, NODE_DAYS, key);
		X509_set_issuer_name(cert, X509_get_subject_name(ca));
		if (add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
		    add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") &&
		    add_extension(cert, ca, NID_ext_key_usage, uses) &&
		    add_extension(cert, ca, NID_subject_alt_name, names) &&
		    X509_sign(cert, ca_key, EVP_sha256()))
			rc = write_pair(dir, file, cert, key);
		else
			rc = cmd_fail("cannot sign: %s", ssl_why());
	}
	if (!rc)
		printf("%s/%s.pem and %s/%s.key made for %s\n", dir, file, dir, file, names);
	X509_free(cert);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	return rc;
}

static int ca_issue(const char *dir, const char *node, char **addresses, int n)
{
	char names[2048];
	int rc;

	if (!*node ||
	    strspn(node, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") !=
		    strlen(node) ||
	    node[0] == '.' || !strcmp(node, "ca") || !strcmp(node, "origins") || strlen(node) > 63)
		return cmd_fail("%s is no name for a node (letters, digits, '.', '-', '_')", node);
	rc = alt_names(names, sizeof(names), node, addresses, n);
	return rc ? rc : issue(dir, node, node, "serverAuth,clientAuth", names);
}

/* For servers alone, so that nobody is let in among the daemons with it. */
static int ca_host(const char *dir, char **hostnames, int n)
{
	char names[2048] = "", file[64];
	size_t at = 0;

	for (int i = 0; i < n; i++) {
		const char *plain = hostnames[i] + (strncmp(hostnames[i], "*.", 2) ? 0 : 2);

		if (!tunnel_hostname_valid(plain))
			return cmd_fail("%s is no hostname (such as app.edge.example or "
					"*.edge.example, lower case)",
					hostnames[i]);
		at += (size_t)snprintf(names + at, sizeof(names) - at, "%sDNS:%s", i ? "," : "",
				       hostnames[i]);
		if (at >= sizeof(names))
			return cmd_fail("so many hostnames do not fit into one certificate");
	}
	if (snprintf(file, sizeof(file), "%s", hostnames[0]) >= (int)sizeof(file))
		return cmd_fail("%s: is too long for the first name, 63 bytes at most",
				hostnames[0]);
	if (file[0] == '*')
		file[0] = '_';
	return issue(dir, file, hostnames[0], "serverAuth", names);
}

int cmd_ca(const struct cmd *cmd, int argc, char **argv)
{
	const char *name = "weir installation";
	const struct cmd_flag own[] = { { "--name", &name, NULL }, { NULL, NULL, NULL } };
	struct cmd_options opt = { 0 };
	int n = cmd_parse(cmd, argc, argv, &opt, own);

	if (n < 0)
		return cmd_exit_of(n);
	if (n == 2 && !strcmp(argv[0], "init"))
		return ca_init(argv[1], name);
	if (n >= 3 && !strcmp(argv[0], "issue"))
		return ca_issue(argv[1], argv[2], argv + 3, n - 3);
	if (n >= 3 && !strcmp(argv[0], "host"))
		return ca_host(argv[1], argv + 2, n - 2);
	return cmd_usage(cmd,
			 "wants `init DIR`, `issue DIR NODE [ADDRESS…]` or `host DIR HOSTNAME…`");
}
