// SPDX-License-Identifier: Apache-2.0
/* Any bytes as weir.yaml: a configuration, or at least one fault with a line; nothing lost, nothing overrun. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/conf_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf *conf = NULL;
	char *said = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&said, &len);
	int err = conf_load_text(&conf, (const char *)data, size, "/fuzz.yaml", out);

	fclose(out);
	if (err != 0 && err != -EINVAL)
		abort();
	if (!err != !len || !err != !!conf)
		abort();
	/* Every line names the file and has no control character of the input. */
	for (char *p = said; *p; p = strchr(p, '\n') + 1) {
		if (strncmp(p, "/fuzz.yaml:", 11))
			abort();
		for (char *c = p; *c != '\n'; c++)
			if ((unsigned char)*c < ' ')
				abort();
	}
	conf_free(conf);
	free(said);
	return 0;
}
