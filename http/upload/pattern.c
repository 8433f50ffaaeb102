// SPDX-License-Identifier: Apache-2.0
/* pattern.c -- (first version: regcomp) */
#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/pattern.h"

struct pattern { regex_t re; };

int pattern_new(struct pattern **out, const char *text, char why[160])
{
	struct pattern *p = calloc(1, sizeof(*p));
	char full[PATTERN_TEXT_MAX + 8];
	int err;

	if (!p)
		return -ENOMEM;
	snprintf(full, sizeof(full), "^(%.*s)$", (int)PATTERN_TEXT_MAX, text);
	err = regcomp(&p->re, full, REG_EXTENDED | REG_NOSUB);
	if (err) {
		char said[80];

		regerror(err, &p->re, said, sizeof(said));
		snprintf(why, 160, "is not a regular expression: %s; correct it", said);
		free(p);
		return -EINVAL;
	}
	*out = p;
	return 0;
}

void pattern_free(struct pattern *p)
{
	if (!p)
		return;
	regfree(&p->re);
	free(p);
}

bool pattern_match(const struct pattern *p, const char *text, size_t len)
{
	regmatch_t m = { .rm_so = 0, .rm_eo = (regoff_t)len };

	return !regexec(&p->re, text, 1, &m, REG_STARTEND);
}
