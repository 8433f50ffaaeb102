/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h -- agent.limits: how large the maps are. Set before a program is loaded; a map that is pinned with
 * another size is migrated (migrate.h). The programs themselves know no sizes.
 */
#ifndef WEIR_LIMITS_H
#define WEIR_LIMITS_H

#include <bpf/libbpf.h>

#include "lib/conf.h"

/* Sets max_entries of the object's maps; limits that are 0 leave the object's own size. 0 or -errno. */
int limits_apply(struct bpf_object *obj, const struct conf_agent *conf);

#endif
