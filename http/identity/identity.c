/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.c -- see identity.h: opening while privileged, starting, stopping.
 */
#include "http/identity/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/identity/identity_impl.h"
#include "lib/daemon.h"
#include "lib/inside.h"
#include "lib/log.h"

#define SECRET_MAX    1024
#define SESSION_S     (12 * 3600) /* without `identity:` */
#define SYSTEM_CA     "/etc/ssl/certs/ca-certificates.crt"
#define STATES_MAX    16384
#define POLLS_MAX     1024
/* Wrong passwords of one user by one address, then one in; of one user by all addresses: more, so that one address alone does
 * not lock a user out; … */
#define BOTH_BURST    10
#define BOTH_EVERY_MS 6000
#define USER_BURST    30
#define USER_EVERY_MS 3000
#define ADDRESS_BURST 60 /* … of one address */
#define ADDRESS_EVERY_MS 1000
#define NOTED_BURST	 20 /* lines of the audit log by strangers of one address */
#define NOTED_EVERY_MS	 10000
#define NOTED_ALL	 600 /* and of all; then 86,400 a day, some 30 MB of the log's gigabyte */
#define NOTED_ALL_MS	 1000

static int copy(char **out, const char *text)
{
	*out = text ? strdup(text) : NULL;
	return text && !*out ? -ENOMEM : 0;
}

/* The file's text without the newline at its end. */
static int read_secret(char **out, const char *path)
{
	char text[SECRET_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	int rc = n < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' '))
		n--;
	if (!rc && (n == 0 || n == sizeof(text) - 1))
		rc = -EINVAL;
	if (rc) {
		log_error("%s: the client's secret cannot be used: %s", path, rc == -EINVAL ? "it is empty or longer than a line" : strerror(-rc));
		return rc;
	}
	text[n] = '\0';
	rc = copy(out, text);
	OPENSSL_cleanse(text, sizeof(text));
	return rc;
}

/* What is asked for, with blanks between. */
static int join_scopes(char **out, const struct conf_identity *conf)
{
	size_t len;
	FILE *f;
	bool openid = false;

	if (!conf->nscopes)
		return 0; /* what is usual: provider_scopes() */
	f = open_memstream(out, &len);
	if (!f)
		return -ENOMEM;
	for (size_t i = 0; i < conf->nscopes; i++)
		openid |= !strcmp(conf->scopes[i], "openid");
	fputs(openid ? "" : "openid ", f);
	for (size_t i = 0; i < conf->nscopes; i++)
		fprintf(f, "%s%s", i ? " " : "", conf->scopes[i]);
	return fclose(f) ? -ENOMEM : 0;
}

static int open_provider(struct identity *id, const struct conf_identity *conf)
{
	struct httpc_options opt = { .ca = conf->ca, .user_agent = "weir-gateway/" WEIR_VERSION, .connect_ms = 3000 };
	int rc = 0;

	if (!opt.ca && !access(SYSTEM_CA, R_OK))
		opt.ca = SYSTEM_CA;
	rc |= copy(&id->issuer, conf->issuer);
	rc |= copy(&id->client_id, conf->client_id);
	rc |= copy(&id->audience, conf->audience ? conf->audience : conf->client_id);
	rc |= copy(&id->name_claim, conf->name_claim);
	rc |= copy(&id->groups_claim, conf->groups_claim);
	rc |= join_scopes(&id->scopes, conf);
	if (rc)
		return -ENOMEM;
	id->has_provider = true;
	id->skew_s = (int64_t)(conf->skew_us / 1000000);
	if (conf->client_secret_file)
		rc = read_secret(&id->client_secret, conf->client_secret_file);
	if (rc)
		return rc;
	rc = httpc_new(&id->client, &opt);
	if (rc)
		log_error("%s: cannot be read: %s (identity.ca)", opt.ca, strerror(-rc));
	return rc ? rc : provider_open(&id->provider, id);
}

int identity_open(struct identity **out, const struct conf *conf)
{
	const struct conf_identity *c = &conf->identity;
	struct identity *id = calloc(1, sizeof(*id));
	int rc;

	if (!id)
		return -ENOMEM;
	snprintf(id->node, sizeof(id->node), "%s", conf->node);
	id->session_s = c->enabled ? (int64_t)(c->session_us / 1000000) : SESSION_S;
	id->by_user = limits_new(USER_BURST, USER_EVERY_MS);
	id->by_both = limits_new(BOTH_BURST, BOTH_EVERY_MS);
	id->by_address = limits_new(ADDRESS_BURST, ADDRESS_EVERY_MS);
	id->devices = limits_new(ADDRESS_BURST / 2, ADDRESS_EVERY_MS * 2);
	id->noted = limits_new(NOTED_BURST, NOTED_EVERY_MS);
	id->noted_all = limits_new(NOTED_ALL, NOTED_ALL_MS);
	id->states = seen_new(STATES_MAX);
	id->polls = seen_new(POLLS_MAX);
	rc = id->by_user && id->by_address && id->by_both && id->devices && id->noted && id->noted_all && id->states && id->polls ? 0 : -ENOMEM;
	if (!rc)
		rc = copy(&id->url, c->url);
	if (!rc)
		rc = inside_client(&id->members, conf, "weir-gateway/" WEIR_VERSION);
	if (!rc && c->enabled)
		rc = open_provider(id, c);
	if (rc) {
		identity_free(id);
		return rc;
	}
	*out = id;
	return 0;
}

int identity_start(struct identity *id, struct users *users, struct registry *reg, struct audit *audit, struct metrics *metrics)
{
	struct metric *m = metric_add(metrics, METRIC_COUNTER, "sign_ins_total",
				      "Attempts to sign in: by a provider or password (login), or for a device.", "how,result");

	if (!m)
		return -ENOMEM;
	id->sign_ins = m;
	id->users = users;
	id->reg = reg;
	id->audit = audit;
	access_cookies(true);
	return id->provider ? provider_start(id->provider) : 0;
}

static bool differ(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") != 0;
}

void identity_reload(const struct conf *old, const struct conf *now)
{
	const struct conf_identity *a = &old->identity, *b = &now->identity;
	bool scopes = a->nscopes != b->nscopes;

	for (size_t i = 0; !scopes && i < a->nscopes; i++)
		scopes = differ(a->scopes[i], b->scopes[i]);
	if (a->enabled != b->enabled || a->session_us != b->session_us || a->skew_us != b->skew_us || differ(a->issuer, b->issuer) ||
	    differ(a->client_id, b->client_id) || differ(a->client_secret_file, b->client_secret_file) || differ(a->audience, b->audience) ||
	    differ(a->ca, b->ca) || differ(a->name_claim, b->name_claim) || differ(a->groups_claim, b->groups_claim) ||
	    differ(a->url, b->url) || scopes)
		log_warn("identity changed: it takes a restart to sign people in by what it says now");
}

void identity_stop(struct identity *id)
{
	if (id)
		provider_stop(id->provider);
}

void identity_free(struct identity *id)
{
	if (!id)
		return;
	provider_free(id->provider);
	httpc_free(id->client);
	httpc_free(id->members);
	if (id->client_secret)
		OPENSSL_cleanse(id->client_secret, strlen(id->client_secret));
	limits_free(id->by_user);
	limits_free(id->by_address);
	limits_free(id->by_both);
	limits_free(id->devices);
	limits_free(id->noted);
	limits_free(id->noted_all);
	seen_free(id->states);
	seen_free(id->polls);
	free(id->issuer);
	free(id->client_id);
	free(id->client_secret);
	free(id->audience);
	free(id->name_claim);
	free(id->groups_claim);
	free(id->url);
	free(id->scopes);
	free(id);
}
