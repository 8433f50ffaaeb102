// SPDX-License-Identifier: Apache-2.0
/*
 * origin_cred.c -- the folder that `weir tunnel enroll` filled: cert.pem (whose common name is the
 * tunnel and whose DNS names are the hostnames allowed), key.pem, ca.pem (by which edges are
 * known).
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/log.h"
#include "user/tunnel/origin.h"

#define FILE_MAX  (256u << 10)
#define WARN_DAYS 14

__attribute__((format(printf, 3, 4))) static int refuse(char why[ORIGIN_WHY_MAX], int err,
							const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, ORIGIN_WHY_MAX, fmt, args);
	va_end(args);
	return err;
}

static void date(int64_t at, char out[40])
{
	time_t t = (time_t)at;
	struct tm tm;

	strftime(out, 40, "%Y-%m-%d %H:%M UTC", gmtime_r(&t, &tm));
}

/* A missing folder, a missing file and one that may not be read have different cures. */
static int look(const char *folder, char why[ORIGIN_WHY_MAX])
{
	static const char *const names[] = { "cert.pem", "key.pem", "ca.pem" };
	char path[PATH_MAX];

	if (access(folder, F_OK))
		return refuse(why, -ENOENT,
			      "origin.credentials: there is no folder %.200s; `weir tunnel enroll "
			      "TOKEN --edge "
			      "HOST:PORT --dir %.120s` makes it (TOKEN is what `weir tunnel "
			      "create` printed)",
			      folder, folder);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		if (!access(path, R_OK))
			continue;
		if (errno == EACCES)
			return refuse(why, -EACCES,
				      "%.300s: may not be read by user %u; give it to that user "
				      "(chown %u)",
				      path, geteuid(), geteuid());
		return refuse(why, -ENOENT,
			      "%.300s: %s; `weir tunnel enroll TOKEN --edge HOST:PORT --dir "
			      "%.120s` makes it",
			      path, strerror(errno), folder);
	}
	return 0;
}

static int check_cert(struct origin_cred *cred, const char *path, const char *folder,
		      char why[ORIGIN_WHY_MAX])
{
	X509 *x = cert_read(path);
	char from[40];
	int64_t now = (int64_t)time(NULL), begin;

	if (!x)
		return refuse(why, -EINVAL, "%.300s: holds no certificate in PEM", path);
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cred->tunnel,
				  sizeof(cred->tunnel));
	cred->nhostnames = cert_hostnames(x, cred->hostnames, TUNNEL_HOSTNAMES_MAX);
	cert_serial(x, cred->serial);
	cred->until = cert_time(X509_get0_notAfter(x));
	begin = cert_time(X509_get0_notBefore(x));
	X509_free(x);
	date(cred->until, cred->until_text);
	date(begin, from);
	if (!tunnel_name_valid(cred->tunnel) || !cred->nhostnames)
		return refuse(why, -EINVAL,
			      "%.300s: is no certificate of a tunnel (its common name is \"%s\", "
			      "with %zu DNS names); "
			      "`weir tunnel enroll` makes one",
			      path, cred->tunnel, cred->nhostnames);
	if (now > cred->until)
		return refuse(
			why, -EINVAL,
			"%.200s: expired at %s; make a new token with `weir tunnel token %s` where "
			"the registry "
			"is, and `weir tunnel enroll TOKEN --edge HOST:PORT --dir %.100s` here",
			path, cred->until_text, cred->tunnel, folder);
	if (now < begin)
		return refuse(why, -EINVAL,
			      "%.300s: is valid only from %s; is this machine's clock right?", path,
			      from);
	if (cred->until - now < WARN_DAYS * 86400)
		log_warn("%s: expires at %s; enroll again before (`weir tunnel token %s` makes a "
			 "token)",
			 path, cred->until_text, cred->tunnel);
	return 0;
}

/* Over the bytes of all three, so that a reload knows whether anything changed. */
static int print_files(struct origin_cred *cred, const char *const paths[3],
		       char why[ORIGIN_WHY_MAX])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	char block[4096];
	int err = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < 3; i++) {
		FILE *f = fopen(paths[i], "re");
		size_t n;

		if (!f) {
			err = refuse(why, -errno, "%.300s: %s", paths[i], strerror(errno));
			break;
		}
		while ((n = fread(block, 1, sizeof(block), f)))
			EVP_DigestUpdate(md, block, n);
		fclose(f);
	}
	if (!err)
		EVP_DigestFinal_ex(md, cred->print, NULL);
	OPENSSL_cleanse(block, sizeof(block));
	EVP_MD_CTX_free(md);
	return err;
}

static int load(struct origin_cred *cred, const char *folder, char why[ORIGIN_WHY_MAX])
{
	static const char *const alpn[] = { CONTROL_ALPN, NULL };
	char cert[PATH_MAX], key[PATH_MAX], ca[PATH_MAX];
	const char *const paths[] = { cert, key, ca };
	struct conn_tls_files files = {
		.cert = cert, .key = key, .ca = ca, .tls13_only = true, .alpn = alpn
	};
	int err = look(folder, why);

	if (err)
		return err;
	snprintf(cert, sizeof(cert), "%s/cert.pem", folder);
	snprintf(key, sizeof(key), "%s/key.pem", folder);
	snprintf(ca, sizeof(ca), "%s/ca.pem", folder);
	err = check_cert(cred, cert, folder, why);
	if (!err)
		err = print_files(cred, paths, why);
	if (!err)
		err = conn_tls_new(&cred->tls, &files, why, ORIGIN_WHY_MAX);
	return err;
}

int origin_cred_load(struct origin_cred **out, const char *folder, char why[ORIGIN_WHY_MAX])
{
	struct origin_cred *cred = calloc(1, sizeof(*cred));
	int err;

	if (!cred)
		return refuse(why, -ENOMEM, "out of memory");
	err = load(cred, folder, why);
	if (err) {
		origin_cred_free(cred);
		return err;
	}
	*out = cred;
	return 0;
}

void origin_cred_free(struct origin_cred *cred)
{
	if (!cred)
		return;
	SSL_CTX_free(cred->tls);
	free(cred);
}

bool origin_cred_names(const struct origin_cred *cred, const char *hostname)
{
	for (size_t i = 0; i < cred->nhostnames; i++)
		if (!strcmp(cred->hostnames[i], hostname))
			return true;
	return false;
}
