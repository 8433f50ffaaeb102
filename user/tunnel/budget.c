// SPDX-License-Identifier: Apache-2.0
/* budget.c -- bytes that wait for slow peers: see budget.h. */
#include <unistd.h>

#include "user/tunnel/budget.h"

#define LEAST (256u << 20)

static struct {
	size_t limit, used;
} budget;

void budget_limit(size_t bytes)
{
	budget.limit = bytes;
}

size_t budget_default(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	size_t quarter = pages > 0 && size > 0 ? (size_t)pages / 4 * (size_t)size : 0;

	return quarter > LEAST ? quarter : LEAST;
}

void budget_take(size_t bytes)
{
	budget.used += bytes;
}

void budget_give(size_t bytes)
{
	budget.used -= bytes;
}

size_t budget_used(void)
{
	return budget.used;
}

bool budget_tight(void)
{
	return budget.limit && budget.used > budget.limit - budget.limit / 4;
}

bool budget_spent(void)
{
	return budget.limit && budget.used > budget.limit;
}
