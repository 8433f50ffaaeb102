/* SPDX-License-Identifier: Apache-2.0 */
/* Bucket policies: what is understood, what is refused with which sentence, and what they say to whom. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/policy.h"
#include "lib/token.h"

#define B "\"arn:aws:s3:::data\""
#define K "\"arn:aws:s3:::data/*\""
#define POLICY(statements) "{\"Version\":\"2012-10-17\",\"Statement\":[" statements "]}"
#define ST(effect, who, what, on) "{\"Effect\":\"" effect "\",\"Principal\":" who ",\"Action\":" what ",\"Resource\":" on "}"
#define STC(effect, who, what, on, cond)                                                                                      \
	"{\"Effect\":\"" effect "\",\"Principal\":" who ",\"Action\":" what ",\"Resource\":" on ",\"Condition\":" cond "}"
#define ANY "\"*\""
#define ADA "{\"AWS\":\"arn:aws:iam::weir:user/ada\"}"

static char sentence[256];

static int parse(struct policy **out, const char *text)
{
	return policy_parse(out, text, strlen(text), "data", sentence);
}

static struct policy *policy_of(const char *text)
{
	struct policy *p = NULL;
	int rc = parse(&p, text);

	if (rc)
		print_error("%s\n%s\n", text, sentence);
	assert_int_equal(rc, 0);
	return p;
}

/* 'a' allowed, 'd' denied, '-' silent. */
static char says(const struct policy *p, const char *user, const char *groups, const struct policy_ask *ask)
{
	const struct policy_who who = { user, groups, !strcmp(user, "olga") };

	return "-ad"[policy_evaluate(p, &who, ask)];
}

static char at(const char *text, const char *user, const char *groups, const char *action, const char *key)
{
	const struct policy_ask ask = { .action = action, .bucket = "data", .key = key, .known = true };
	struct policy *p = policy_of(text);
	char verdict = says(p, user, groups, &ask);

	policy_free(p);
	return verdict;
}

static void test_principals(void **state)
{
	static const char *const any = POLICY(ST("Allow", ANY, "\"s3:GetObject\"", K)),
			  *const one = POLICY(ST("Allow", ADA, "\"s3:GetObject\"", K)),
			  *const lists = POLICY(ST("Allow",
						   "{\"AWS\":[\"arn:aws:iam::weir:user/ada\",\"arn:aws:iam::weir:group/crew\"]}",
						   "\"s3:GetObject\"", K)),
			  *const root = POLICY(ST("Allow", "{\"AWS\":\"arn:aws:iam::weir:root\"}", "\"s3:*\"", K)),
			  *const but = POLICY("{\"Effect\":\"Deny\",\"NotPrincipal\":" ADA
					      ",\"Action\":\"s3:*\",\"Resource\":[" B "," K "]}");

	(void)state;
	assert_int_equal(at(any, "", "", "s3:GetObject", "k"), 'a');
	assert_int_equal(at(any, "bob", "", "s3:GetObject", "k"), 'a');
	assert_int_equal(at(any, "", "", "s3:PutObject", "k"), '-');
	assert_int_equal(at(any, "", "", "s3:ListBucket", NULL), '-');
	assert_int_equal(at(one, "", "", "s3:GetObject", "k"), '-');
	assert_int_equal(at(one, "ada", "", "s3:GetObject", "k"), 'a');
	assert_int_equal(at(one, "ad", "", "s3:GetObject", "k"), '-');
	assert_int_equal(at(lists, "bob", "crew", "s3:GetObject", "k"), 'a');
	assert_int_equal(at(lists, "bob", "team,crew", "s3:GetObject", "k"), 'a');
	assert_int_equal(at(lists, "bob", "crews", "s3:GetObject", "k"), '-');
	assert_int_equal(at(lists, "crew", "", "s3:GetObject", "k"), '-');
	assert_int_equal(at(root, "olga", "", "s3:PutObject", "k"), 'a');
	assert_int_equal(at(root, "ada", "", "s3:PutObject", "k"), '-');
	assert_int_equal(at(but, "ada", "", "s3:PutObject", "k"), '-');
	assert_int_equal(at(but, "bob", "", "s3:PutObject", "k"), 'd');
	assert_int_equal(at(but, "", "", "s3:ListBucket", NULL), 'd');
}

static void test_actions_and_resources(void **state)
{
	static const char *const get = POLICY(ST("Allow", ANY, "\"s3:get*\"", "\"arn:aws:s3:::data/in/*\"")),
			  *const list = POLICY(ST("Allow", ANY, "[\"s3:ListBucket\",\"s3:PutObject\"]", "[" B "," K "]")),
			  *const all = POLICY(ST("Allow", ANY, "\"*\"", "\"*\"")),
			  *const home = POLICY(ST("Allow", ANY, "\"s3:*\"", "\"arn:aws:s3:::data/home/${aws:username}/*\"")),
			  *const one = POLICY(ST("Allow", ANY, "\"s3:GetObject\"", "\"arn:aws:s3:::data/?.txt\"")),
			  *const star = POLICY(ST("Allow", ANY, "\"s3:GetObject\"", "\"arn:aws:s3:::data/${*}/x\"")),
			  *const not = POLICY("{\"Effect\":\"Allow\",\"Principal\":\"*\",\"NotAction\":\"s3:Delete*\","
					      "\"NotResource\":\"arn:aws:s3:::data/secret/*\"}"),
			  *const wins = POLICY(ST("Allow", ANY, "\"s3:*\"", K) "," ST("Deny", ADA, "\"s3:GetObject\"",
										 "\"arn:aws:s3:::data/x\""));

	(void)state;
	assert_int_equal(at(get, "", "", "s3:GetObject", "in/a"), 'a');
	assert_int_equal(at(get, "", "", "GetObjectTagging", "in/a/b"), 'a');
	assert_int_equal(at(get, "", "", "s3:GetObject", "in"), '-');
	assert_int_equal(at(get, "", "", "s3:GetObject", "IN/a"), '-');
	assert_int_equal(at(get, "", "", "s3:GetBucketCORS", NULL), '-');
	assert_int_equal(at(get, "", "", "s3:None", "in/a"), '-');
	assert_int_equal(at(list, "", "", "s3:ListBucket", NULL), 'a');
	assert_int_equal(at(list, "", "", "s3:ListBucket", "pre"), 'a');
	assert_int_equal(at(list, "", "", "s3:PutObject", "a"), 'a');
	assert_int_equal(at(list, "", "", "s3:GetObject", "a"), '-');
	assert_int_equal(at(all, "", "", "s3:DeleteBucket", NULL), 'a');
	assert_int_equal(at(all, "", "", "s3:DeleteObject", "a"), 'a');
	assert_int_equal(at(home, "ada", "", "s3:PutObject", "home/ada/1"), 'a');
	assert_int_equal(at(home, "bob", "", "s3:PutObject", "home/ada/1"), '-');
	assert_int_equal(at(home, "", "", "s3:PutObject", "home//1"), '-');
	assert_int_equal(at(home, "ada", "", "s3:PutObject", "home/${aws:username}/1"), '-');
	assert_int_equal(at(one, "", "", "s3:GetObject", "a.txt"), 'a');
	assert_int_equal(at(one, "", "", "s3:GetObject", "\xc3\xa4.txt"), 'a'); /* one character */
	assert_int_equal(at(one, "", "", "s3:GetObject", ".txt"), '-');
	assert_int_equal(at(one, "", "", "s3:GetObject", "ab.txt"), '-');
	assert_int_equal(at(star, "", "", "s3:GetObject", "*/x"), 'a');
	assert_int_equal(at(star, "", "", "s3:GetObject", "a/x"), '-');
	assert_int_equal(at(not, "", "", "s3:GetObject", "a"), 'a');
	assert_int_equal(at(not, "", "", "s3:DeleteObject", "a"), '-');
	assert_int_equal(at(not, "", "", "s3:GetObject", "secret/a"), '-');
	assert_int_equal(at(wins, "bob", "", "s3:GetObject", "x"), 'a');
	assert_int_equal(at(wins, "ada", "", "s3:GetObject", "x"), 'd');
	assert_int_equal(at(wins, "ada", "", "s3:GetObject", "xy"), 'a');
	/* variables are of 2012: in the older version they are text */
	assert_int_equal(at("{\"Statement\":" ST("Allow", ANY, "\"s3:*\"", "\"arn:aws:s3:::data/${aws:username}\"") "}", "ada", "",
			    "s3:GetObject", "ada"),
			 '-');
}

static char when(const char *cond, const char *effect, const struct policy_ask *ask, const char *user)
{
	char text[2048];
	struct policy *p;
	char verdict;

	snprintf(text, sizeof(text),
		 "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"%s\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"Resource\":["
		 B "," K "],\"Condition\":%s}}",
		 effect, cond);
	p = policy_of(text);
	verdict = says(p, user, "", ask);
	policy_free(p);
	return verdict;
}

static void test_addresses(void **state)
{
	struct policy_ask ask = { .action = "s3:GetObject", .bucket = "data", .key = "k", .known = true };
	static const char in[] = "{\"IpAddress\":{\"aws:SourceIp\":[\"198.51.100.0/24\",\"2001:db8::/32\"]}}",
			  out[] = "{\"NotIpAddress\":{\"AWS:SourceIP\":\"198.51.100.7\"}}";

	(void)state;
	assert_int_equal(when(in, "Allow", &ask, ""), '-'); /* no address known */
	assert_int_equal(when(out, "Deny", &ask, ""), 'd');
	assert_int_equal(addr_parse(&ask.source, "198.51.100.7"), 0);
	assert_int_equal(when(in, "Allow", &ask, ""), 'a');
	assert_int_equal(when(out, "Deny", &ask, ""), '-');
	assert_int_equal(addr_parse(&ask.source, "198.51.101.7"), 0);
	assert_int_equal(when(in, "Allow", &ask, ""), '-');
	assert_int_equal(when(out, "Deny", &ask, ""), 'd');
	assert_int_equal(addr_parse(&ask.source, "2001:db8:1::1"), 0);
	assert_int_equal(when(in, "Allow", &ask, ""), 'a');
	/* who asks without having looked: what denies is met, what allows is not */
	ask.known = false;
	assert_int_equal(when(in, "Allow", &ask, ""), '-');
	assert_int_equal(when(in, "Deny", &ask, ""), 'd');
	assert_int_equal(when("{\"Bool\":{\"aws:SecureTransport\":false}}", "Deny", &ask, ""), 'd');
}

static void test_conditions(void **state)
{
	struct policy_ask ask = { .action = "s3:GetObject",  .bucket = "data",	   .key = "k",		  .known = true,
				  .agent = "curl/7.88",	     .sigv4 = true,	   .signature_age_ms = 5000, .now = 1790000000 },
			  list = { .action = "s3:ListBucket", .bucket = "data",	   .key = "home/",	  .known = true,
				   .max_keys = "100",	      .delimiter = "/" };
	const struct {
		const char *cond, *user;
		bool list;
		char want;
	} rows[] = {
		{ "{\"Bool\":{\"aws:SecureTransport\":\"false\"}}", "", false, 'a' },
		{ "{\"Bool\":{\"aws:SecureTransport\":true}}", "", false, '-' },
		{ "{\"StringEquals\":{\"aws:UserAgent\":\"curl/7.88\"}}", "", false, 'a' },
		{ "{\"StringEquals\":{\"aws:UserAgent\":\"curl/*\"}}", "", false, '-' },
		{ "{\"StringLike\":{\"aws:UserAgent\":\"curl/*\"}}", "", false, 'a' },
		{ "{\"StringNotLike\":{\"aws:UserAgent\":\"curl/*\"}}", "", false, '-' },
		{ "{\"StringEqualsIgnoreCase\":{\"aws:UserAgent\":\"CURL/7.88\"}}", "", false, 'a' },
		{ "{\"StringNotEqualsIgnoreCase\":{\"aws:UserAgent\":\"CURL/7.88\"}}", "", false, '-' },
		{ "{\"StringLike\":{\"aws:Referer\":\"*\"}}", "", false, '-' },
		{ "{\"StringLikeIfExists\":{\"aws:Referer\":\"https://x/*\"}}", "", false, 'a' },
		{ "{\"StringNotEquals\":{\"aws:Referer\":\"https://x/\"}}", "", false, 'a' },
		{ "{\"Null\":{\"aws:Referer\":true}}", "", false, 'a' },
		{ "{\"Null\":{\"aws:Referer\":\"false\"}}", "", false, '-' },
		{ "{\"Null\":{\"aws:UserAgent\":\"false\"}}", "", false, 'a' },
		{ "{\"StringEquals\":{\"aws:username\":[\"ada\",\"bob\"]}}", "bob", false, 'a' },
		{ "{\"StringEquals\":{\"aws:username\":[\"ada\",\"bob\"]}}", "", false, '-' },
		{ "{\"StringNotEquals\":{\"aws:username\":[\"ada\",\"bob\"]}}", "bob", false, '-' },
		{ "{\"StringNotEquals\":{\"aws:username\":[\"ada\",\"bob\"]}}", "", false, 'a' },
		{ "{\"ArnLike\":{\"aws:PrincipalArn\":\"arn:aws:iam::weir:user/a*\"}}", "ada", false, 'a' },
		{ "{\"ArnLike\":{\"aws:PrincipalArn\":\"arn:aws:iam::weir:user/a*\"}}", "bob", false, '-' },
		{ "{\"StringEquals\":{\"aws:PrincipalType\":\"Anonymous\"}}", "", false, 'a' },
		{ "{\"StringEquals\":{\"aws:PrincipalType\":\"User\"}}", "", false, '-' },
		{ "{\"StringEquals\":{\"s3:authType\":\"REST-HEADER\"}}", "", false, 'a' },
		{ "{\"StringEquals\":{\"s3:signatureversion\":\"AWS4-HMAC-SHA256\"}}", "", false, 'a' },
		{ "{\"NumericGreaterThan\":{\"s3:signatureAge\":\"600000\"}}", "", false, '-' },
		{ "{\"NumericLessThanEquals\":{\"s3:signatureAge\":5000}}", "", false, 'a' },
		{ "{\"DateGreaterThan\":{\"aws:CurrentTime\":\"2026-01-01T00:00:00Z\"}}", "", false, 'a' },
		{ "{\"DateLessThan\":{\"aws:CurrentTime\":\"2026-01-01T00:00:00Z\"}}", "", false, '-' },
		{ "{\"DateLessThan\":{\"aws:CurrentTime\":\"2027-01-01\"}}", "", false, 'a' },
		{ "{\"NumericEquals\":{\"aws:EpochTime\":1790000000}}", "", false, 'a' },
		{ "{\"DateLessThanEquals\":{\"aws:EpochTime\":\"1790000000\"}}", "", false, 'a' },
		{ "{\"StringEquals\":{\"s3:prefix\":[\"\",\"home/\"],\"s3:delimiter\":\"/\"}}", "", true, 'a' },
		{ "{\"StringEquals\":{\"s3:prefix\":\"home/x\"}}", "", true, '-' },
		{ "{\"StringEquals\":{\"s3:prefix\":\"k\"}}", "", false, '-' }, /* a key is no prefix */
		{ "{\"StringLike\":{\"s3:prefix\":\"${aws:username}/*\"}}", "home", true, 'a' },
		{ "{\"NumericLessThan\":{\"s3:max-keys\":\"101\"}}", "", true, 'a' },
		{ "{\"NumericLessThan\":{\"s3:max-keys\":\"100\"}}", "", true, '-' },
		{ "{\"NumericLessThan\":{\"s3:max-keys\":\"101\"},\"StringEquals\":{\"s3:delimiter\":\"-\"}}", "", true, '-' },
		{ "{\"StringEquals\":{\"s3:x-amz-acl\":\"private\"}}", "", false, '-' },
		{ "{\"StringEqualsIfExists\":{\"s3:x-amz-acl\":\"private\"}}", "", false, 'a' },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char got = when(rows[i].cond, "Allow", rows[i].list ? &list : &ask, rows[i].user);

		if (got != rows[i].want)
			print_error("%s: %c\n", rows[i].cond, got);
		assert_int_equal(got, rows[i].want);
	}
}

static void test_tags(void **state)
{
	json_t *tags = json_pack("{s:s}", "open", "yes");
	struct policy_ask ask = { .action = "s3:GetObject", .bucket = "data", .key = "k", .known = true };
	static const char open[] = "{\"StringEquals\":{\"S3:existingobjecttag/open\":\"yes\"}}",
			  shut[] = "{\"StringEquals\":{\"s3:ExistingObjectTag/Open\":\"yes\"}}",
			  none[] = "{\"Null\":{\"s3:ExistingObjectTag/lock\":\"true\"}}",
			  sent[] = "{\"StringLike\":{\"s3:RequestObjectTag/open\":\"y*\"}}";
	bool unsure = false;

	(void)state;
	ask.unsure = &unsure;
	assert_int_equal(when(open, "Allow", &ask, ""), '-'); /* not known: nothing is given, and what denies holds */
	assert_true(unsure);
	assert_int_equal(when(open, "Deny", &ask, ""), 'd');
	ask.tags_known = true; /* it has none */
	unsure = false;
	assert_int_equal(when(open, "Allow", &ask, ""), '-');
	assert_int_equal(when(open, "Deny", &ask, ""), '-');
	assert_int_equal(when(none, "Allow", &ask, ""), 'a');
	ask.tags = tags;
	assert_int_equal(when(open, "Allow", &ask, ""), 'a');
	assert_int_equal(when(shut, "Allow", &ask, ""), '-'); /* a tag's key has its case */
	assert_int_equal(when(sent, "Allow", &ask, ""), '-'); /* reading sends none */
	assert_false(unsure);
	ask.action = "s3:PutObject"; /* has no tags yet */
	assert_int_equal(when(open, "Deny", &ask, ""), '-');
	assert_int_equal(when(sent, "Deny", &ask, ""), 'd');
	assert_true(unsure);
	ask.new_tags_known = true;
	assert_int_equal(when(sent, "Deny", &ask, ""), '-');
	ask.new_tags = tags;
	assert_int_equal(when(sent, "Allow", &ask, ""), 'a');
	json_decref(tags);
}

static void test_creation(void **state)
{
	struct policy_ask ask = {
		.action = "s3:PutObject", .bucket = "data", .key = "k", .known = true
	};
	static const char bare[] = "{\"Null\":{\"s3:if-none-match\":\"true\"},\"Bool\":{\"s3:"
				   "ObjectCreationOperation\":\"true\"}}";

	(void)state;
	assert_int_equal(when(bare, "Deny", &ask, ""), 'd');
	ask.if_none_match = "*";
	assert_int_equal(when(bare, "Deny", &ask, ""), '-');
	ask.if_none_match = NULL;
	ask.staged = true;
	assert_int_equal(when(bare, "Deny", &ask, ""), '-');
	ask.staged = false;
	ask.action = "s3:GetObject"; /* creates nothing */
	assert_int_equal(when(bare, "Deny", &ask, ""), '-');
}

/* Of parts and of an upload's end encryption and ACL are what it was begun with. */
static void test_begun(void **state)
{
	bool unsure = false;
	struct policy_ask ask = { .action = "s3:PutObject", .bucket = "data", .key = "k", .known = true, .unsure = &unsure };
	static const char bare[] = "{\"Null\":{\"s3:x-amz-server-side-encryption\":\"true\"}}",
			  other[] = "{\"StringNotEquals\":{\"s3:x-amz-server-side-encryption\":\"AES256\"}}",
			  sealed[] = "{\"StringEquals\":{\"s3:x-amz-server-side-encryption\":\"AES256\"}}",
			  acl[] = "{\"StringEquals\":{\"s3:x-amz-acl\":\"public-read\"}}",
			  agent[] = "{\"Null\":{\"aws:UserAgent\":\"false\"}}";

	(void)state;
	ask.begun_unknown = true;
	assert_int_equal(when(agent, "Deny", &ask, ""), '-');
	assert_false(unsure);
	assert_int_equal(when(bare, "Deny", &ask, ""), 'd');
	assert_true(unsure);
	assert_int_equal(when(other, "Deny", &ask, ""), 'd');
	assert_int_equal(when(acl, "Deny", &ask, ""), 'd');
	ask.encryption = "AES256"; /* as long as it is not known, what stands there does not count */
	assert_int_equal(when(sealed, "Allow", &ask, ""), '-');
	assert_int_equal(when(bare, "Deny", &ask, ""), 'd');
	ask.begun_unknown = unsure = false;
	assert_int_equal(when(bare, "Deny", &ask, ""), '-');
	assert_int_equal(when(other, "Deny", &ask, ""), '-');
	assert_int_equal(when(sealed, "Allow", &ask, ""), 'a');
	assert_int_equal(when(acl, "Deny", &ask, ""), '-');
	ask.encryption = NULL;
	assert_int_equal(when(bare, "Deny", &ask, ""), 'd');
	assert_false(unsure);
}

static void test_refused(void **state)
{
	const struct {
		const char *text, *says;
	} rows[] = {
		{ "", "not JSON" },
		{ "[]", "JSON object" },
		{ "{}", "Statement" },
		{ "{\"Version\":\"2013-01-01\",\"Statement\":[]}", "2012-10-17" },
		{ "{\"Statement\":[]}", "1 to 500" },
		{ "{\"Statement\":\"x\"}", "an object or a list" },
		{ "{\"Statement\":[7]}", "statement 1: it must be an object" },
		{ "{\"Statement\":{},\"More\":1}", "\"More\" is not known" },
		{ "{\"Id\":7,\"Statement\":{}}", "\"Id\" is not known" },
		{ POLICY("{}"), "Effect is missing" },
		{ POLICY(ST("allow", ANY, "\"s3:*\"", K)), "Allow or Deny" },
		{ POLICY("{\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":" K "}"), "Principal is missing" },
		{ POLICY("{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Resource\":" K "}"), "Action is missing" },
		{ POLICY("{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"s3:*\"}"), "Resource is missing" },
		{ POLICY(ST("Allow", "\"ada\"", "\"s3:*\"", K)), "must be \"*\" or" },
		{ POLICY(ST("Allow", "{\"CanonicalUser\":\"x\"}", "\"s3:*\"", K)), "must be \"*\" or" },
		{ POLICY(ST("Allow", "{\"AWS\":[]}", "\"s3:*\"", K)), "empty list" },
		{ POLICY(ST("Allow", "{\"AWS\":\"arn:aws:iam::123456789012:user/ada\"}", "\"s3:*\"", K)), "user/NAME" },
		{ POLICY(ST("Allow", "{\"AWS\":\"arn:aws:iam::weir:user/a b\"}", "\"s3:*\"", K)), "user/NAME" },
		{ POLICY(ST("Allow", "{\"AWS\":7}", "\"s3:*\"", K)), "wants texts" },
		{ POLICY(ST("Allow", ANY, "\"s3:Frob\"", K)), "none of S3's" },
		{ POLICY(ST("Allow", ANY, "\"ec2:*\"", K)), "none of S3's" },
		{ POLICY(ST("Allow", ANY, "[]", K)), "empty list" },
		{ POLICY(ST("Allow", ANY, "7", K)), "a text or a list" },
		{ POLICY(ST("Allow", ANY, "\"s3:GetObject\"", "\"arn:aws:s3:::other/*\"")), "of this bucket" },
		{ POLICY(ST("Allow", ANY, "\"s3:GetObject\"", "\"arn:aws:s3:::database\"")), "of this bucket" },
		{ POLICY(ST("Allow", ANY, "\"s3:GetObject\"", "\"data/*\"")), "of this bucket" },
		{ POLICY(ST("Allow", ANY, "\"s3:GetObject\"", B)), "does not fit" },
		{ POLICY(ST("Allow", ANY, "\"s3:ListBucket\"", K)), "does not fit" },
		{ POLICY(ST("Allow", ANY, "\"s3:GetObject\"", "\"arn:aws:s3:::data/${aws:nobody}\"")), "variables are" },
		{ POLICY(ST("Allow", ANY, "\"s3:GetObject\"", "\"arn:aws:s3:::data/${aws:username\"")), "variables are" },
		{ POLICY(ST("Allow", ANY, "\"s3:GetObject\"", "\"arn:aws:s3:::data/\\u0001\"")), "control character" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "7")), "object of operators" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"Frobs\":{\"aws:SourceIp\":\"::1\"}}")), "no operator" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"ForAnyValue:StringEquals\":{\"aws:username\":\"x\"}}")),
		  "no operator" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"NullIfExists\":{\"aws:username\":\"true\"}}")), "no operator" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"StringEquals\":{\"aws:SourceVpc\":\"x\"}}")), "no key" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"StringEquals\":{\"s3:ExistingObjectTag/\":\"x\"}}")), "no key" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"NumericEquals\":{\"s3:ExistingObjectTag/a\":1}}")), "does not fit" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"StringEquals\":{\"aws:SourceIp\":\"::1\"}}")), "does not fit" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"IpAddress\":{\"aws:SourceIp\":\"300.1.1.1\"}}")),
		  "not a value" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"IpAddress\":{\"aws:SourceIp\":[]}}")), "empty list" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"IpAddress\":{}}")), "keys and values" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"Bool\":{\"aws:SecureTransport\":\"yes\"}}")), "not a value" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"NumericEquals\":{\"s3:max-keys\":\"1x\"}}")), "not a value" },
		{ POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"DateEquals\":{\"aws:CurrentTime\":\"soon\"}}")), "not a value" },
		{ POLICY(ST("Allow", ANY, "\"s3:*\"", K) ",{\"Effect\":\"Deny\",\"Frob\":1}"), "statement 2: member \"Frob\"" },
		{ POLICY("{\"Effect\":\"Allow\",\"Effect\":\"Deny\"}"), "not JSON" },
		{ POLICY("{\"Effect\":\"Allow\",\"Principal\":\"*\",\"NotPrincipal\":\"*\",\"Action\":\"s3:*\",\"Resource\":" K "}"),
		  "beside its opposite" },
	};
	struct policy *p = NULL;
	char *big = malloc(POLICY_MAX + 2);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int rc = parse(&p, rows[i].text);

		if (rc != -EINVAL || !strstr(sentence, rows[i].says))
			print_error("%s\n%d: %s\n", rows[i].text, rc, sentence);
		assert_int_equal(rc, -EINVAL);
		assert_non_null(strstr(sentence, rows[i].says));
	}
	assert_null(p);
	memset(big, ' ', POLICY_MAX + 1);
	big[POLICY_MAX + 1] = '\0';
	assert_int_equal(parse(&p, big), -E2BIG);
	free(big);
}

static bool is_public(const char *text)
{
	struct policy *p = policy_of(text);
	bool is = policy_is_public(p);

	policy_free(p);
	return is;
}

static void test_public(void **state)
{
	(void)state;
	assert_false(policy_is_public(NULL));
	assert_true(is_public(POLICY(ST("Allow", ANY, "\"s3:GetObject\"", K))));
	assert_false(is_public(POLICY(ST("Deny", ANY, "\"s3:GetObject\"", K))));
	assert_false(is_public(POLICY(ST("Allow", ADA, "\"s3:GetObject\"", K))));
	assert_false(is_public(POLICY(
		STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"IpAddress\":{\"aws:SourceIp\":\"198.51.100.0/24\"}}"))));
	assert_true(is_public(
		POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"IpAddress\":{\"aws:SourceIp\":\"128.0.0.0/1\"}}"))));
	assert_true(is_public(
		POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"StringLike\":{\"aws:UserAgent\":\"*\"}}"))));
	assert_false(
		is_public(POLICY(STC("Allow", ANY, "\"s3:GetObject\"", K, "{\"StringEquals\":{\"aws:username\":\"ada\"}}"))));
}

/* Patterns that make a careless matcher walk for ever. */
static void test_stars(void **state)
{
	char text[4096], key[1025];
	struct policy *p;
	struct policy_ask ask = { .action = "s3:GetObject", .bucket = "data", .key = key };

	(void)state;
	snprintf(text, sizeof(text), POLICY(ST("Allow", ANY, "\"s3:GetObject\"", "\"arn:aws:s3:::data/%s\"")),
		 "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b");
	p = policy_of(text);
	memset(key, 'a', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	assert_int_equal(says(p, "", "", &ask), '-');
	key[sizeof(key) - 2] = 'b';
	assert_int_equal(says(p, "", "", &ask), 'a');
	policy_free(p);
}

static void test_names(void **state)
{
	enum canned_acl acl;

	(void)state;
	assert_non_null(policy_action("GetObject"));
	assert_ptr_equal(policy_action("s3:GetObject"), policy_action("GetObject"));
	assert_null(policy_action("getobject"));
	assert_string_equal(policy_action_of(RIGHT_LIST), "s3:ListBucket");
	assert_null(policy_action_of(RIGHT_ADMIN));
	for (int i = ACL_PRIVATE; i <= ACL_OWNER_FULL; i++) {
		assert_int_equal(acl_parse(acl_text((enum canned_acl)i), &acl), 0);
		assert_int_equal(acl, i);
	}
	assert_int_equal(acl_parse("log-delivery-write", &acl), -EINVAL);
	assert_int_equal(acl_parse("", &acl), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_principals), cmocka_unit_test(test_actions_and_resources),
		cmocka_unit_test(test_addresses),  cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_tags),	   cmocka_unit_test(test_creation),
		cmocka_unit_test(test_begun),
		cmocka_unit_test(test_refused),	   cmocka_unit_test(test_public),
		cmocka_unit_test(test_stars),	   cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
