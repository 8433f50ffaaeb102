/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blind.c -- see blind.h.
 */
#include "user/agent/blind.h"

void sight_take(struct sight *sight, bool good, uint64_t began_us)
{
	if (good)
		sight->good_us = began_us;
	else if (sight->good || !sight->failing_us)
		sight->failing_us = began_us;
	sight->good = good;
}

/* Is one up whose checks go well, one of which began after those of every backend that is down went wrong? */
static bool sees_another(const struct blind_view *view, size_t n)
{
	uint64_t good_us = 0;

	for (size_t i = 0; i < n; i++) {
		if (view[i].up && !view[i].sight)
			return true;
		if (view[i].up && view[i].sight->good && view[i].sight->good_us > good_us)
			good_us = view[i].sight->good_us;
	}
	for (size_t i = 0; i < n; i++)
		if (!view[i].up && view[i].sight && view[i].sight->failing_us >= good_us)
			return false;
	return true;
}

bool blind_is(struct blind *blind, const struct blind_view *view, size_t n, uint64_t now_us, uint64_t patience_us)
{
	size_t up = 0;

	for (size_t i = 0; i < n; i++)
		up += view[i].up;
	if (n && !up) {
		*blind = (struct blind){ .none = true };
		return true;
	}
	if (blind->none && !blind->until_us)
		blind->until_us = now_us + patience_us;
	if (up == n || now_us >= blind->until_us)
		*blind = (struct blind){ 0 };
	return blind->none || !sees_another(view, n);
}

bool blind_up(bool blind, bool up, bool was)
{
	return up || (blind && was);
}
