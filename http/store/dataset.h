/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset.h -- what an endpoint does differently in the bucket of a dataset: changes come from
 * gateways alone, which have checked the file, and everything stands in the audit log.
 */
#ifndef WEIR_STORE_DATASET_H
#define WEIR_STORE_DATASET_H

#include "http/store/endpoint.h"

#define DATASET_KEPT ".weir/" /* keys for who may write only */

/* access_check(), and in a dataset's bucket: no change but with a gateway's token (403 "dataset"),
 * and a line in the audit log when it is refused. */
bool dataset_check(struct endpoint *ep, struct http_req *req, unsigned int right,
		   const char *bucket, const char *key, struct token_scope *who);
/* Writes a line when the bucket is a dataset's, but not of what a gateway did for somebody and that went well, or of what it
 * looked for and did not find: it has a line of its own. Strangers who are refused are not written down: they could fill the
 * log. */
void dataset_audit(struct endpoint *ep, struct http_req *req, const struct token_scope *who,
		   const struct audit_object *o);
/* Are keys below ".weir/" left out of what the caller lists? */
bool dataset_hides(struct endpoint *ep, const struct token_scope *who, const char *bucket);

#endif
