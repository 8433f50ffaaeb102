/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_wish.c -- what a tunnel shall be, from the options of `weir tunnel create` and `set`.
 */
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tunnel.h"

#define TOKEN_TTL	"24h"
#define CLIENT_CA_BYTES (48u << 10)

int tunnel_wishes_take(const struct cmd *cmd, int argc, char **argv, struct tunnel_wishes *w)
{
	const struct cmd_flag own[] = {
		{ "--owner", &w->owner, NULL },	    { "--client-ca", &w->client_ca, NULL },
		{ "--token-ttl", &w->ttl, NULL },   { "--tls-pass", NULL, &w->tls_pass },
		{ "--no-wait", NULL, &w->no_wait }, { NULL, NULL, NULL }
	};

	w->ttl = TOKEN_TTL;
	w->nhostnames = cmd_take_all(&argc, argv, "--hostname", w->hostnames, TUNNEL_HOSTNAMES_MAX);
	w->nports = cmd_take_all(&argc, argv, "--port", w->ports, TUNNEL_PORTS_MAX);
	w->nallow = cmd_take_all(&argc, argv, "--allow", w->allow, TUNNEL_PREFIXES_MAX);
	w->ndeny = cmd_take_all(&argc, argv, "--deny", w->deny, TUNNEL_PREFIXES_MAX);
	if (w->nhostnames > TUNNEL_HOSTNAMES_MAX || w->nports > TUNNEL_PORTS_MAX ||
	    w->nallow > TUNNEL_PREFIXES_MAX || w->ndeny > TUNNEL_PREFIXES_MAX) {
		cmd_usage(cmd, "a tunnel has at most %d hostnames, %d ports and %d networks",
			  TUNNEL_HOSTNAMES_MAX, TUNNEL_PORTS_MAX, TUNNEL_PREFIXES_MAX);
		return -2;
	}
	return cmd_parse(cmd, argc, argv, &w->opt, own);
}

/* As people write them: any case, perhaps with a dot at the end. */
static int set_hostnames(const struct tunnel_wishes *w, struct tunnel *t)
{
	if (!w->nhostnames)
		return CMD_OK;
	t->nhostnames = 0;
	for (size_t i = 0; i < w->nhostnames; i++) {
		char *out = t->hostnames[t->nhostnames++];
		size_t n = strlen(w->hostnames[i]);

		if (n && w->hostnames[i][n - 1] == '.')
			n--;
		if (n >= TUNNEL_HOSTNAME_MAX)
			return cmd_fail("hostname %.60s… is longer than 253 bytes",
					w->hostnames[i]);
		for (size_t k = 0; k < n; k++)
			out[k] = w->hostnames[i][k] >= 'A' && w->hostnames[i][k] <= 'Z'
					 ? (char)(w->hostnames[i][k] | 0x20)
					 : w->hostnames[i][k];
		out[n] = '\0';
		if (!tunnel_hostname_valid(out))
			return cmd_fail(
				"%s is no hostname: two labels or more of a-z, 0-9 and -, such as "
				"app.edge.example",
				w->hostnames[i]);
	}
	return CMD_OK;
}

/* "443/https"; "80" alone: what is usual there. */
static int set_port(const char *text, struct tunnel *t)
{
	const char *slash = strchr(text, '/');
	char *end;
	unsigned long port = strtoul(text, &end, 10);
	int mode = slash	 ? tunnel_mode_parse(slash + 1)
		   : port == 80	 ? TUNNEL_HTTP
		   : port == 443 ? TUNNEL_HTTPS
				 : TUNNEL_TCP;

	if (text[0] < '0' || text[0] > '9' || (*end && end != slash) || !port || port > 65535 ||
	    mode < 0)
		return cmd_fail(
			"--port %s: write it like 443/https; after the port http, https (TLS ends "
			"at the edge), tls (it is passed through) or tcp",
			text);
	t->ports[t->nports++] = (struct tunnel_port){ (uint16_t)port, (enum tunnel_mode)mode };
	return CMD_OK;
}

static int set_ports(const struct tunnel_wishes *w, struct tunnel *t)
{
	int rc = CMD_OK;

	if (w->nports)
		t->nports = 0;
	for (size_t i = 0; !rc && i < w->nports; i++)
		rc = set_port(w->ports[i], t);
	if (rc || !w->tls_pass)
		return rc;
	for (size_t i = 0; i < t->nports; i++)
		if (t->ports[i].mode == TUNNEL_HTTPS)
			t->ports[i].mode = TUNNEL_TLS;
	if (!t->nports) {
		t->ports[0] = (struct tunnel_port){ 80, TUNNEL_HTTP };
		t->ports[1] = (struct tunnel_port){ 443, TUNNEL_TLS };
		t->nports = 2;
	}
	return CMD_OK;
}

/* "none" alone takes a list away (`weir tunnel set NAME --allow none`). */
static int set_prefixes(const char *option, const char *const *list, size_t n,
			struct addr_prefix *out, size_t *nout)
{
	if (!n)
		return CMD_OK;
	*nout = 0;
	if (n == 1 && !strcmp(list[0], "none"))
		return CMD_OK;
	for (size_t i = 0; i < n; i++)
		if (addr_prefix_parse(&out[i], list[i]))
			return cmd_fail("%s %s: write a network such as 198.18.0.0/16", option,
					list[i]);
	*nout = n;
	return CMD_OK;
}

static int set_client_ca(const struct tunnel_wishes *w, struct tunnel *t)
{
	char text[CLIENT_CA_BYTES + 1];
	FILE *in;
	X509 *cert;
	size_t n;

	if (!w->client_ca)
		return CMD_OK;
	free(t->client_ca);
	t->client_ca = NULL;
	if (!strcmp(w->client_ca, "none"))
		return CMD_OK;
	in = fopen(w->client_ca, "re");
	if (!in)
		return cmd_fail("--client-ca %s: %s", w->client_ca, strerror(errno));
	n = fread(text, 1, sizeof(text), in);
	rewind(in);
	cert = PEM_read_X509(in, NULL, NULL, NULL);
	fclose(in);
	if (!cert || n == sizeof(text))
		return cmd_fail("--client-ca %s: %s", w->client_ca,
				cert ? "is larger than 48 KiB" : "holds no certificate (PEM)");
	X509_free(cert);
	text[n] = '\0';
	t->client_ca = strdup(text);
	return t->client_ca ? CMD_OK : cmd_fail("out of memory");
}

int tunnel_wishes_set(const struct tunnel_wishes *w, struct tunnel *t)
{
	int rc = set_hostnames(w, t);

	if (!rc && w->owner)
		snprintf(t->owner, sizeof(t->owner), "%s",
			 strcmp(w->owner, "none") ? w->owner : "");
	if (!rc)
		rc = set_ports(w, t);
	if (!rc)
		rc = set_prefixes("--allow", w->allow, w->nallow, t->allow, &t->nallow);
	if (!rc)
		rc = set_prefixes("--deny", w->deny, w->ndeny, t->deny, &t->ndeny);
	return rc ? rc : set_client_ca(w, t);
}
