/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.h -- bytes that wait in this process for peers who do not take them: one sum over all
 * connections and exchanges, so that ten thousand slow readers cannot take the machine's memory.
 *
 * Windows bound what one stream may hold back; this bounds them together. When it is tight no new
 * request is begun and connections keep little; when it is spent, who would need more is broken
 * off. Main thread only.
 */
#ifndef WEIR_TUNNEL_BUDGET_H
#define WEIR_TUNNEL_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

void budget_limit(size_t bytes); /* 0: none, as at the beginning */
size_t budget_default(void);	 /* a quarter of the machine's memory, at least 256 MiB */

void budget_take(size_t bytes);
void budget_give(size_t bytes);
size_t budget_used(void);
bool budget_tight(void); /* three quarters are used */
bool budget_spent(void);

#endif
