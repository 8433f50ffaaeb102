/* SPDX-License-Identifier: Apache-2.0 */
/*
 * person.c -- from what the token endpoint answered to a session: the ID token verified, the claims read, the person
 * remembered, weir's own token signed. Both flows end here.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "http/identity/identity_impl.h"

static const json_t *claim(const json_t *claims, const json_t *more, const char *key)
{
	const json_t *value = json_object_get(claims, key);

	return value ? value : json_object_get(more, key);
}

static const char *claim_text(const json_t *claims, const json_t *more, const char *key)
{
	const char *text = json_string_value(claim(claims, more, key));

	return text && *text ? text : NULL;
}

/* An address that the provider says it has not verified names nobody. */
static const char *email_of(const json_t *claims, const json_t *more)
{
	const json_t *verified = claim(claims, more, "email_verified");

	return verified && !json_is_true(verified) ? NULL : claim_text(claims, more, "email");
}

bool person_wants_more(const struct identity *id, const json_t *claims)
{
	return !json_object_get(claims, id->name_claim) || !json_object_get(claims, id->groups_claim) || !json_object_get(claims, "email");
}

int person_of(struct person *out, const struct identity *id, const json_t *claims, const json_t *more, char why[256])
{
	const char *subject = json_string_value(json_object_get(claims, "sub")), *name, *email, *shown;

	memset(out, 0, sizeof(*out));
	if (more && (!json_is_string(json_object_get(more, "sub")) || strcmp(json_string_value(json_object_get(more, "sub")), subject)))
		more = NULL; /* of somebody else: OpenID Connect Core section 5.3.2 */
	email = email_of(claims, more);
	name = !strcmp(id->name_claim, "email") ? email : claim_text(claims, more, id->name_claim);
	name = name ? name : email ? email : subject;
	if (!token_name_valid(name)) {
		snprintf(why, 256, "the provider calls you \"%.64s\", which cannot be a name here (1 to 63 letters, digits and . - _ @); "
			 "an administrator may choose another claim (identity.name_claim)", name);
		return -EINVAL;
	}
	shown = claim_text(claims, more, "name");
	snprintf(out->name, sizeof(out->name), "%s", name);
	snprintf(out->subject, sizeof(out->subject), "%s", subject);
	snprintf(out->email, sizeof(out->email), "%s", email && strlen(email) < sizeof(out->email) ? email : "");
	snprintf(out->shown, sizeof(out->shown), "%s", shown && strlen(shown) < sizeof(out->shown) ? shown : "");
	users_groups_from(id->users, claim(claims, more, id->groups_claim), out->groups);
	return 0;
}

int person_sign_in(struct identity *id, const json_t *answer, const char *nonce, struct token_scope *scope, char token[TOKEN_MAX],
		   char why[256])
{
	const char *id_token = json_string_value(json_object_get(answer, "id_token"));
	const char *access_token = json_string_value(json_object_get(answer, "access_token"));
	json_t *claims = NULL, *more = NULL;
	struct person person;
	int rc;

	if (!id_token) {
		snprintf(why, 256, "the provider gave no ID token; is \"openid\" among the scopes?");
		return -EBADMSG;
	}
	rc = provider_verify(id->provider, &claims, id_token, nonce, why);
	if (rc)
		return rc;
	if (access_token && person_wants_more(id, claims))
		more = provider_userinfo(id->provider, access_token);
	rc = person_of(&person, id, claims, more, why);
	json_decref(claims);
	json_decref(more);
	*scope = (struct token_scope){ .bucket = "*", .provider = true,
				       .rights = RIGHT_READ | RIGHT_WRITE | RIGHT_DELETE | RIGHT_LIST | RIGHT_ADMIN };
	if (rc)
		return rc;
	memcpy(scope->user, person.name, sizeof(scope->user));
	memcpy(scope->groups, person.groups, sizeof(scope->groups));
	rc = people_upsert(id, &person, why);
	if (rc)
		return rc;
	rc = session_issue(id, scope, token);
	if (rc)
		snprintf(why, 256, "the registry gave no key to sign with yet; try again");
	return rc;
}
