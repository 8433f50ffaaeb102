/* SPDX-License-Identifier: Apache-2.0 */
/* main.c -- weir-agent: loads the packet path, checks backends, learns their load, fills the ring. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "user/agent/agent.h"
#include "user/agent/plan.h"
#include "user/agent/rescue.h"

static bool enabled(const struct conf *conf)
{
	return conf->agent.enabled;
}

static int check(const struct conf *conf)
{
	return filter_check(conf);
}

static int detach(const struct conf *conf, bool as_json)
{
	(void)as_json;
	if (geteuid()) {
		fprintf(stderr, "weir-agent --detach: only root may take the packet path down\n");
		return 1;
	}
	return dataplane_detach(&conf->agent);
}

static const struct ctl_command commands[] = {
	{ "weights", agent_weights },
	{ "filter", agent_filter },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	static const struct daemon_program program = {
		.name = "weir-agent",
		.role = "agent",
		.summary = "balance services with XDP, by learned load",
		.enabled = enabled,
		.profile = PRIV_NET_FILES,        /* saved.c writes into the state folder */
		.prepare = agent_prepare,
		.start = agent_start,
		.stop = agent_stop,
		.reload = agent_reload,
		.status = agent_status,
		.commands = commands,
		.check = check,
		.actions = {
			{ "detach", "take the packet path down: unpin links, program and maps", detach, .has_json = false },
			{ "dry-run", "show what a start would do, change nothing", plan_print, .has_json = true },
		},
		.also = "      --rescue [--dry-run] [FOLDER…]  without a configuration: take everything of weir off this host\n",
	};

	/* Before any configuration is looked at: it may be broken. */
	if (argc > 1 && strcmp(argv[1], "--rescue") == 0)
		return rescue_main(argc - 1, argv + 1);
	return daemon_main(&program, argc, argv);
}
