/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rescue.c -- `weir rescue`: becomes `weir-agent --rescue`, which knows how the packet path is put up. No
 * configuration is read: it may be what is broken.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cmd.h"

int cmd_rescue(const struct cmd *cmd, int argc, char **argv)
{
	char self[PATH_MAX], program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char **args = calloc((size_t)argc + 3, sizeof(*args));
	char *slash;

	if (!args)
		return cmd_fail("out of memory");
	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			free(args);
			cmd_help(cmd);
			return CMD_OK;
		}
	}
	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	snprintf(program, sizeof(program), "%.4000s/weir-agent", self);
	args[0] = "weir-agent";
	args[1] = "--rescue";
	memcpy(args + 2, argv, (size_t)argc * sizeof(*argv));
	fflush(NULL);
	execv(program, (char *const *)args);
	execvp(args[0], (char *const *)args);
	free(args);
	return cmd_fail("cannot run weir-agent (%s): %s; it is installed beside weir", program, strerror(errno));
}
