// SPDX-License-Identifier: Apache-2.0
/*
 * main.c -- weir-tunnel: one program, three roles. The first argument says which; each is a daemon
 * of its own with its own section, user, control socket and unit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "user/tunnel/edge_program.h"
#include "user/tunnel/origin.h"
#include "user/tunnel/authority.h"

#define EXIT_USAGE 2

static const struct {
	const char *mode;
	const struct daemon_program *program;
} modes[] = {
	{ "edge", &edge_program },
	{ "origin", &origin_program },
	{ "authority", &authority_program },
};
#define MODES (sizeof(modes) / sizeof(*modes))

static void print_usage(FILE *to)
{
	fputs("weir-tunnel: tunnels from origins to public edges\n\n"
	      "usage: weir-tunnel MODE [-c FILE] [-n] [-v]\n\n",
	      to);
	for (size_t i = 0; i < MODES; i++)
		fprintf(to, "  %-10s %s\n", modes[i].mode, modes[i].program->summary);
	fputs("\nweir-tunnel MODE --help shows a mode's options; weir-tunnel(8) says more.\n"
	      "Example: weir-tunnel edge -n -c /etc/weir/weir.yaml\n",
	      to);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	for (size_t i = 0; i < MODES; i++) {
		if (strcmp(mode, modes[i].mode) != 0)
			continue;
		argv[1] = (char *)modes[i].program->name; /* what getopt(3) says in messages */
		return daemon_main(modes[i].program, argc - 1, argv + 1);
	}
	if (!strcmp(mode, "-h") || !strcmp(mode, "--help")) {
		print_usage(stdout);
		return EXIT_SUCCESS;
	}
	if (!strcmp(mode, "-V") || !strcmp(mode, "--version")) {
		puts("weir-tunnel " WEIR_VERSION);
		return EXIT_SUCCESS;
	}
	if (*mode)
		fprintf(stderr, "weir-tunnel: \"%s\" is not a mode\n\n", mode);
	print_usage(stderr);
	return EXIT_USAGE;
}
