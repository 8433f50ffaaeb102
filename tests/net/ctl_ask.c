/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl_ask.c -- asks a daemon over its control socket: ctl_ask SOCKET COMMAND; prints the answer, one line of JSON.
 *
 * For scripts that ask ten times a second until something has happened. Exit: 0 answered, be it with an error; 1 not.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/ctl.h"

#define PATIENCE_MS 10000

int main(int argc, char **argv)
{
	json_t *request, *answer = NULL;
	int r;

	if (argc != 3) {
		fprintf(stderr, "usage: ctl_ask SOCKET COMMAND\n");
		return 2;
	}
	request = json_pack("{s:s}", "do", argv[2]);
	r = request ? ctl_call(argv[1], request, &answer, PATIENCE_MS) : -ENOMEM;
	json_decref(request);
	if (answer) {
		json_dumpf(answer, stdout, 0);
		putchar('\n');
		json_decref(answer);
		return 0;
	}
	fprintf(stderr, "ctl_ask: %s: %s\n", argv[1], strerror(-r));
	return 1;
}
