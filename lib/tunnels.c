/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnels.c -- tunnels, attachments, tokens and what the authority is asked, as text: the pure half
 * of tunnels.h.
 *
 * Values are JSON objects. Members that are not known are passed over, so that versions may differ;
 * a member of a wrong type or out of bounds makes the whole value -EINVAL, and nothing is told of
 * it.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/tunnels.h"
#include "lib/user_edit.h"

#define VALUE_BYTES_MAX (512u << 10) /* text of one value */
#define CLIENT_CA_MAX	(64u << 10)
#define CSR_MAX		(16u << 10)
#define TOKEN_PREFIX	"weirt1."

static const char *const mode_words[] = { "http", "https", "tls", "tcp" };

/* ---- members of a JSON object; all: 0 or -EINVAL, an absent one leaves the output alone
 * ---------- */

static json_t *object_of(const char *text)
{
	json_t *o = strnlen(text, VALUE_BYTES_MAX) < VALUE_BYTES_MAX
			    ? json_loads(text, JSON_REJECT_DUPLICATES, NULL)
			    : NULL;

	if (json_is_object(o))
		return o;
	json_decref(o);
	return NULL;
}

/* The string when it fits and has no NUL inside, else NULL. */
static const char *text_of(const json_t *v, size_t len)
{
	const char *text = json_string_value(v);

	return text && json_string_length(v) < len && strlen(text) == json_string_length(v) ? text
											    : NULL;
}

static int take_text(const json_t *o, const char *key, char *out, size_t len)
{
	const json_t *v = json_object_get(o, key);
	const char *text = text_of(v, len);

	if (!v)
		return 0;
	if (!text)
		return -EINVAL;
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int take_i64(const json_t *o, const char *key, int64_t max, int64_t *out)
{
	const json_t *v = json_object_get(o, key);

	if (!v)
		return 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
		return -EINVAL;
	*out = json_integer_value(v);
	return 0;
}

static int take_addr(const json_t *o, const char *key, uint8_t family, struct addr *out)
{
	const json_t *v = json_object_get(o, key);
	const char *text = text_of(v, ADDR_STRLEN);
	struct addr a;

	if (!v)
		return 0;
	if (!text || addr_parse(&a, text) || a.family != family)
		return -EINVAL;
	*out = a;
	return 0;
}

static int take_prefixes(const json_t *o, const char *key, struct addr_prefix *out, size_t *n)
{
	const json_t *list = json_object_get(o, key), *v;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > TUNNEL_PREFIXES_MAX)
		return -EINVAL;
	json_array_foreach (list, i, v) {
		const char *text = text_of(v, ADDR_STRLEN + 4);

		if (!text || addr_prefix_parse(&out[i], text))
			return -EINVAL;
	}
	*n = json_array_size(list);
	return 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* The length of a DNS label at text: 1 to max of a-z, 0-9 and inner '-'; 0 when there is none. */
static size_t label_length(const char *text, size_t max)
{
	size_t n = 0;

	while (n <= max && is_label_char(text[n]))
		n++;
	return n <= max && n && text[0] != '-' && text[n - 1] != '-' ? n : 0;
}

bool tunnel_name_valid(const char *name)
{
	size_t n = label_length(name, TUNNEL_NAME_MAX - 1);

	return n && !name[n];
}

bool tunnel_hostname_valid(const char *hostname)
{
	const char *label = hostname;
	size_t n, labels = 0;

	if (strnlen(hostname, TUNNEL_HOSTNAME_MAX) >= TUNNEL_HOSTNAME_MAX)
		return false;
	for (;; label += n + 1) {
		n = label_length(label, 63);
		if (!n || (label[n] && label[n] != '.'))
			return false;
		labels++;
		if (!label[n])
			break;
	}
	/* a last label of digits would make it look like an address (RFC 3696, section 2) */
	return labels >= 2 && strspn(label, "0123456789") != n;
}

const char *tunnel_mode_word(enum tunnel_mode mode)
{
	return (unsigned int)mode < sizeof(mode_words) / sizeof(*mode_words) ? mode_words[mode]
									     : "?";
}

int tunnel_mode_parse(const char *word)
{
	for (size_t i = 0; i < sizeof(mode_words) / sizeof(*mode_words); i++)
		if (!strcmp(word, mode_words[i]))
			return (int)i;
	return -1;
}

/* ---- a tunnel -------------------------------------------------------------------------------- */

static int take_hostnames(const json_t *o, struct tunnel *t)
{
	const json_t *list = json_object_get(o, "hostnames"), *v;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > TUNNEL_HOSTNAMES_MAX)
		return -EINVAL;
	json_array_foreach (list, i, v) {
		const char *text = text_of(v, TUNNEL_HOSTNAME_MAX);

		if (!text || !tunnel_hostname_valid(text) || tunnel_has_hostname(t, text))
			return -EINVAL;
		memcpy(t->hostnames[t->nhostnames++], text, strlen(text) + 1);
	}
	return 0;
}

static int take_ports(const json_t *o, struct tunnel *t)
{
	const json_t *list = json_object_get(o, "ports"), *v;
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > TUNNEL_PORTS_MAX)
		return -EINVAL;
	json_array_foreach (list, i, v) {
		const char *word = text_of(json_object_get(v, "mode"), 16);
		int mode = word ? tunnel_mode_parse(word) : -1;
		int64_t port = 0;

		if (mode < 0 || take_i64(v, "port", UINT16_MAX, &port) || !port ||
		    tunnel_port_mode(t, (uint16_t)port) >= 0)
			return -EINVAL;
		t->ports[t->nports++] =
			(struct tunnel_port){ (uint16_t)port, (enum tunnel_mode)mode };
	}
	return 0;
}

static bool is_hex(const char *text, size_t len)
{
	return strlen(text) == len && strspn(text, "0123456789abcdef") == len;
}

static int take_enrolment(const json_t *o, struct tunnel *t)
{
	const json_t *e = json_object_get(o, "enroll");

	if (!e)
		return 0;
	if (!json_is_object(e) || take_text(e, "salt", t->enroll_salt, sizeof(t->enroll_salt)) ||
	    take_text(e, "hash", t->enroll_hash, sizeof(t->enroll_hash)) ||
	    take_i64(e, "until", INT64_MAX, &t->enroll_until) ||
	    !is_hex(t->enroll_salt, sizeof(t->enroll_salt) - 1) ||
	    !is_hex(t->enroll_hash, sizeof(t->enroll_hash) - 1))
		return -EINVAL;
	return 0;
}

static int take_client_ca(const json_t *o, struct tunnel *t)
{
	const json_t *v = json_object_get(o, "client_ca");
	const char *text = text_of(v, CLIENT_CA_MAX);

	if (!v)
		return 0;
	if (!text || !*text)
		return -EINVAL;
	t->client_ca = strdup(text);
	return t->client_ca ? 0 : -ENOMEM;
}

int tunnel_parse(struct tunnel *out, const char *text)
{
	json_t *o = object_of(text);
	struct tunnel *t = calloc(1, sizeof(*t));
	int64_t generation = 0;
	int rc = -EINVAL;

	memset(out, 0, sizeof(*out));
	if (!t)
		rc = -ENOMEM;
	else if (o && !take_text(o, "name", t->name, sizeof(t->name)) &&
		 tunnel_name_valid(t->name) && !take_text(o, "owner", t->owner, sizeof(t->owner)) &&
		 (!*t->owner || user_name_valid(t->owner)) && !take_hostnames(o, t) &&
		 !take_addr(o, "address", AF_INET, &t->address) &&
		 !take_addr(o, "address6", AF_INET6, &t->address6) && !take_ports(o, t) &&
		 !take_prefixes(o, "allow", t->allow, &t->nallow) &&
		 !take_prefixes(o, "deny", t->deny, &t->ndeny) &&
		 !take_i64(o, "generation", INT64_MAX, &generation) && generation &&
		 !take_i64(o, "created", INT64_MAX, &t->created) && !take_enrolment(o, t))
		rc = take_client_ca(o, t);
	json_decref(o);
	if (!rc) {
		t->generation = (uint64_t)generation;
		*out = *t;
	}
	free(t);
	return rc;
}

static json_t *prefixes_json(const struct addr_prefix *list, size_t n)
{
	json_t *all = json_array();
	char text[ADDR_STRLEN + 4];

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
			all, json_string(addr_prefix_format(&list[i], text, sizeof(text))));
	return all;
}

static void set_addr(json_t *o, const char *key, const struct addr *a)
{
	char text[ADDR_STRLEN];

	if (a->family != AF_UNSPEC)
		json_object_set_new(o, key, json_string(addr_format(a, text, sizeof(text))));
}

json_t *tunnel_pack(const struct tunnel *t)
{
	json_t *o =
		json_pack("{s:s, s:s, s:I, s:I}", "name", t->name, "owner", t->owner, "generation",
			  (json_int_t)t->generation, "created", (json_int_t)t->created);
	json_t *hostnames = json_array(), *ports = json_array();

	for (size_t i = 0; i < t->nhostnames; i++)
		json_array_append_new(hostnames, json_string(t->hostnames[i]));
	for (size_t i = 0; i < t->nports; i++)
		json_array_append_new(ports, json_pack("{s:i, s:s}", "port", (int)t->ports[i].port,
						       "mode", tunnel_mode_word(t->ports[i].mode)));
	json_object_set_new(o, "hostnames", hostnames);
	json_object_set_new(o, "ports", ports);
	set_addr(o, "address", &t->address);
	set_addr(o, "address6", &t->address6);
	if (t->nallow)
		json_object_set_new(o, "allow", prefixes_json(t->allow, t->nallow));
	if (t->ndeny)
		json_object_set_new(o, "deny", prefixes_json(t->deny, t->ndeny));
	if (t->client_ca)
		json_object_set_new(o, "client_ca", json_string(t->client_ca));
	if (*t->enroll_hash)
		json_object_set_new(o, "enroll",
				    json_pack("{s:s, s:s, s:I}", "salt", t->enroll_salt, "hash",
					      t->enroll_hash, "until",
					      (json_int_t)t->enroll_until));
	return o;
}

char *tunnel_format(const struct tunnel *t)
{
	json_t *o = tunnel_pack(t);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

void tunnel_clear(struct tunnel *t)
{
	free(t->client_ca);
	memset(t, 0, sizeof(*t));
}

bool tunnel_has_hostname(const struct tunnel *t, const char *hostname)
{
	for (size_t i = 0; i < t->nhostnames; i++)
		if (!strcmp(t->hostnames[i], hostname))
			return true;
	return false;
}

int tunnel_port_mode(const struct tunnel *t, uint16_t port)
{
	for (size_t i = 0; i < t->nports; i++)
		if (t->ports[i].port == port)
			return (int)t->ports[i].mode;
	return -1;
}

static bool is_in(const struct addr_prefix *list, size_t n, const struct addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (addr_prefix_contains(&list[i], a))
			return true;
	return false;
}

bool tunnel_admits(const struct tunnel *t, const struct addr *client)
{
	return !is_in(t->deny, t->ndeny, client) &&
	       (!t->nallow || is_in(t->allow, t->nallow, client));
}

int tunnel_check_secret(const struct tunnel *t, const char *secret, int64_t now)
{
	char hash[65];

	if (!*t->enroll_hash)
		return -ENOENT;
	user_key_hash(t->enroll_salt, secret, hash);
	if (CRYPTO_memcmp(hash, t->enroll_hash, 64))
		return -EACCES;
	return now < t->enroll_until ? 0 : -ETIME;
}

/* ---- an attachment --------------------------------------------------------------------------- */

static bool edge_name_valid(const char *name)
{
	return *name && strlen(name) < CONF_NAME_MAX && !strpbrk(name, "/ \t\r\n");
}

/* TUNNEL/EDGE */
static int take_key(struct attachment *a, const char *key)
{
	const char *slash = strchr(key, '/');
	size_t n = slash ? (size_t)(slash - key) : 0;

	if (!slash || n >= sizeof(a->tunnel) || !edge_name_valid(slash + 1))
		return -EINVAL;
	memcpy(a->tunnel, key, n);
	memcpy(a->edge, slash + 1, strlen(slash + 1) + 1);
	return tunnel_name_valid(a->tunnel) ? 0 : -EINVAL;
}

int attachment_parse(struct attachment *out, const char *key, const char *text)
{
	json_t *o = object_of(text);
	const json_t *draining = json_object_get(o, "draining");
	struct attachment a = { 0 };
	int64_t generation = 0, connections = 0, origins = 0, rtt = 0;
	int rc = -EINVAL;

	if (o && !take_key(&a, key) && !take_addr(o, "address", AF_INET, &a.address) &&
	    !take_addr(o, "address6", AF_INET6, &a.address6) &&
	    !take_i64(o, "generation", INT64_MAX, &generation) && generation &&
	    !take_i64(o, "connections", UINT32_MAX, &connections) &&
	    !take_i64(o, "origins", UINT32_MAX, &origins) &&
	    !take_i64(o, "rtt_us", UINT32_MAX, &rtt) && (!draining || json_is_boolean(draining))) {
		a.generation = (uint64_t)generation;
		a.connections = (unsigned int)connections;
		a.origins = (unsigned int)origins;
		a.rtt_us = (uint32_t)rtt;
		a.draining = json_is_true(draining);
		*out = a;
		rc = 0;
	}
	json_decref(o);
	return rc;
}

char *attachment_format(const struct attachment *a)
{
	json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:b}", "generation", (json_int_t)a->generation,
			      "connections", (json_int_t)a->connections, "origins",
			      (json_int_t)a->origins, "rtt_us", (json_int_t)a->rtt_us, "draining",
			      (int)a->draining);
	char *text;

	set_addr(o, "address", &a->address);
	set_addr(o, "address6", &a->address6);
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

/* ---- the token ------------------------------------------------------------------------------- */

#define BASE64URL "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

static bool is_secret(const char *text)
{
	return strlen(text) == 43 && strspn(text, BASE64URL) == 43;
}

int tunnel_token_parse(struct tunnel_token *out, const char *text)
{
	const size_t n = strlen(TOKEN_PREFIX);
	struct tunnel_token t = { .name = "" };
	size_t name;
	int rc = -EINVAL;

	if (strncmp(text, TOKEN_PREFIX, n))
		return -EINVAL;
	text += n;
	name = strcspn(text, ".");
	if (name < sizeof(t.name) && strlen(text + name) == 1 + 43 + 1 + 64 &&
	    text[name + 44] == '.') {
		memcpy(t.name, text, name);
		memcpy(t.secret, text + name + 1, 43);
		memcpy(t.fingerprint, text + name + 45, 64);
		if (tunnel_name_valid(t.name) && is_secret(t.secret) && is_hex(t.fingerprint, 64)) {
			*out = t;
			rc = 0;
		}
	}
	OPENSSL_cleanse(&t, sizeof(t));
	return rc;
}

void tunnel_token_format(const struct tunnel_token *t, char *out, size_t len)
{
	snprintf(out, len, TOKEN_PREFIX "%s.%s.%s", t->name, t->secret, t->fingerprint);
}

/* ---- what the authority is asked ------------------------------------------------------------- */

int enroll_ask_parse(struct enroll_ask *out, const char *text)
{
	json_t *o = object_of(text);
	const char *csr = text_of(json_object_get(o, "csr"), CSR_MAX);
	struct enroll_ask a = { .csr = NULL };
	int rc = -EINVAL;

	if (csr && *csr && !take_text(o, "tunnel", a.tunnel, sizeof(a.tunnel)) &&
	    tunnel_name_valid(a.tunnel) && !take_text(o, "secret", a.secret, sizeof(a.secret)) &&
	    is_secret(a.secret)) {
		a.csr = strdup(csr);
		rc = a.csr ? 0 : -ENOMEM;
	}
	json_decref(o);
	if (!rc)
		*out = a;
	OPENSSL_cleanse(a.secret, sizeof(a.secret));
	return rc;
}

char *enroll_ask_format(const struct enroll_ask *a)
{
	json_t *o = json_pack("{s:s, s:s, s:s}", "tunnel", a->tunnel, "secret", a->secret, "csr",
			      a->csr);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

void enroll_ask_clear(struct enroll_ask *a)
{
	free(a->csr);
	OPENSSL_cleanse(a, sizeof(*a));
}
