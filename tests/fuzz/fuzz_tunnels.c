/* SPDX-License-Identifier: Apache-2.0 */
/* Values of the registry and tokens of strangers: taken or refused, and what is taken is written as a
 * text that is taken again and means the same. The first byte says which. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/target.h"
#include "lib/tunnels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
	if (!truth)
		abort();
}

static void tunnel(const char *text)
{
	struct tunnel *t = malloc(2 * sizeof(*t));
	char *first, *second;

	if (!t)
		return;
	if (!tunnel_parse(&t[0], text)) {
		require(tunnel_name_valid(t[0].name) && t[0].generation);
		for (size_t i = 0; i < t[0].nhostnames; i++)
			require(tunnel_hostname_valid(t[0].hostnames[i]));
		first = tunnel_format(&t[0]);
		require(first && !tunnel_parse(&t[1], first));
		second = tunnel_format(&t[1]);
		require(second && !strcmp(first, second));
		tunnel_check_secret(&t[0], text, 0);
		free(first);
		free(second);
		tunnel_clear(&t[1]);
	}
	tunnel_clear(&t[0]);
	free(t);
}

/* KEY, a space, the value */
static void attachment(char *text)
{
	struct attachment a, again;
	char *value = strchr(text, ' '), *written, key[160];

	if (!value)
		return;
	*value++ = '\0';
	if (attachment_parse(&a, text, value))
		return;
	written = attachment_format(&a);
	snprintf(key, sizeof(key), "%s/%s", a.tunnel, a.edge);
	require(written && !strcmp(key, text) && !attachment_parse(&again, key, written));
	require(addr_equal(&a.address, &again.address) && a.generation == again.generation &&
		a.rtt_us == again.rtt_us && a.draining == again.draining);
	free(written);
}

static void token(const char *text)
{
	struct tunnel_token t;
	char written[256];

	if (tunnel_token_parse(&t, text))
		return;
	tunnel_token_format(&t, written, sizeof(written));
	require(!strcmp(written, text));
}

static void ask(const char *text)
{
	struct enroll_ask a, again;
	char *written;

	if (enroll_ask_parse(&a, text))
		return;
	written = enroll_ask_format(&a);
	require(written && !enroll_ask_parse(&again, written));
	require(!strcmp(a.csr, again.csr) && !strcmp(a.secret, again.secret));
	enroll_ask_clear(&again);
	enroll_ask_clear(&a);
	free(written);
}

static void target(const char *text)
{
	char why[TARGET_WHY_MAX] = "";
	struct target_spec s;

	if (!target_parse(&s, text, why))
		require(target_is_http(s.kind) || s.port || *s.path);
	else
		require(*why && memchr(why, '\0', sizeof(why)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (!size)
		return 0;
	text = malloc(size);
	if (!text)
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0]) {
	case 't':
		tunnel(text);
		break;
	case 'a':
		attachment(text);
		break;
	case 'k':
		token(text);
		break;
	case 'e':
		ask(text);
		break;
	case 'o':
		target(text);
		break;
	default:
		break;
	}
	free(text);
	return 0;
}
