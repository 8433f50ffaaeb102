/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dataset.c -- see dataset.h.
 */
#include "http/store/dataset.h"

void dataset_audit(struct endpoint *ep, struct http_req *req, const struct token_scope *who,
		   const struct audit_object *o)
{
	struct audit_object line = *o;
	bool ok = !strcmp(o->result, "ok");

	/* What a gateway does for somebody stands in its own log, as one line for all the objects of a file. It looks for
	 * some that are not there yet. */
	if (who->via_gateway && (ok || (!strcmp(o->what, "object.get") && strcmp(o->result, "denied"))))
		return;
	if (!line.why && who->via_gateway)
		line.why = "by a gateway";
	if (users_dataset(ep->users, o->bucket) && (who->user[0] || ok))
		audit_object(ep->audit, req, who, &line);
}

bool dataset_check(struct endpoint *ep, struct http_req *req, unsigned int right,
		   const char *bucket, const char *key, struct token_scope *who)
{
	struct audit_object denied = { .bucket = bucket, .key = key, .result = "denied" };

	denied.what = right == RIGHT_WRITE    ? "object.put"
		      : right == RIGHT_DELETE ? "object.delete"
		      : right == RIGHT_LIST   ? "object.list"
					      : "object.get";
	denied.why = "no right";
	if (!access_check(req, ep->users, right, bucket, key, who)) {
		dataset_audit(ep, req, who, &denied);
		return false;
	}
	if (!(right & (RIGHT_WRITE | RIGHT_DELETE)) || who->via_gateway ||
	    !users_dataset(ep->users, bucket))
		return true;
	denied.why = "not through a gateway";
	dataset_audit(ep, req, who, &denied);
	http_reply_error(req, 403, "dataset",
			 "%s is a dataset, whose files are checked: go to a gateway (PUT or DELETE "
			 "/b/%s/FILE there, or weir put)",
			 bucket, bucket);
	return false;
}

bool dataset_hides(struct endpoint *ep, const struct token_scope *who, const char *bucket)
{
	return users_dataset(ep->users, bucket) &&
	       !users_allow(ep->users, who, RIGHT_LIST, bucket, DATASET_KEPT);
}
