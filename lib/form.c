/* SPDX-License-Identifier: Apache-2.0 */
/*
 * form.c -- see form.h.
 *
 * A line that begins with "--BOUNDARY" ends a part, and the line end before it belongs to it (RFC 2046 section
 * 5.1.1). So the text looked for is CR LF "--BOUNDARY"; a partial match at the end of a piece is kept back. The
 * first boundary has no line end before it: the match begins as if CR LF had come.
 */
#include "lib/form.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum place { PREAMBLE, BEHIND, HEAD, DATA, EPILOGUE };

struct form {
	struct form_sink sink;
	char mark[FORM_BOUNDARY_MAX + 5]; /* CR LF "--" boundary */
	size_t mark_len, matched;	  /* bytes of it that the end of what came is */
	size_t phantom;			  /* … of these, the line end that never came (behind a head) */
	enum place place;
	char behind[2]; /* after a boundary: CR LF or "--" */
	size_t nbehind;
	char head[FORM_HEAD_MAX + 1];
	size_t head_len;
	unsigned int parts;
	int rc;
};

/* The value of a parameter ("name" of `form-data; name="x"; filename="y"`) into out; false: not there. Quoted
 * strings as browsers write them: a quote inside is %22 (HTML, section 4.10.21.8), a backslash before a quote is
 * taken too. */
static bool parameter(const char *text, const char *name, char *out, size_t size)
{
	size_t len = strlen(name);

	while (*text) {
		bool ours, quoted;
		size_t n = 0;

		text += strspn(text, "; \t");
		ours = !strncasecmp(text, name, len) && text[len] == '=';
		text += strcspn(text, "=;");
		if (*text != '=')
			continue;
		quoted = *++text == '"';
		text += quoted;
		for (; *text && (quoted ? *text != '"' : !strchr("; \t", *text)); text++) {
			if (quoted && text[0] == '\\' && (text[1] == '"' || text[1] == '\\'))
				text++;
			if (ours && n + 1 < size && (unsigned char)*text >= 0x20 && *text != 0x7f)
				out[n++] = *text;
		}
		if (ours) {
			out[n] = '\0';
			return true;
		}
		text += strcspn(text, ";");
	}
	return false;
}

int form_new(struct form **out, const char *content_type, const struct form_sink *sink)
{
	static const char type[] = "multipart/form-data";
	struct form *form;
	char boundary[FORM_BOUNDARY_MAX + 2];
	size_t len;

	if (!content_type || strncasecmp(content_type, type, sizeof(type) - 1) ||
	    content_type[sizeof(type) - 1 + strspn(content_type + sizeof(type) - 1, " ")] != ';' ||
	    !parameter(content_type + sizeof(type) - 1, "boundary", boundary, sizeof(boundary)))
		return -EINVAL;
	len = strlen(boundary);
	if (!len || len > FORM_BOUNDARY_MAX)
		return -EINVAL;
	form = calloc(1, sizeof(*form));
	if (!form)
		return -ENOMEM;
	form->sink = *sink;
	memcpy(form->mark, "\r\n--", 4);
	memcpy(form->mark + 4, boundary, len);
	form->mark_len = len + 4;
	form->matched = form->phantom = 2;
	*out = form;
	return 0;
}

void form_free(struct form *form)
{
	free(form);
}

/* The head of a part is complete: its Content-Disposition says what it is. */
static int head_done(struct form *form)
{
	static const char wanted[] = "content-disposition:";
	char name[FORM_NAME_MAX], file[FORM_NAME_MAX], *line = form->head, *next;
	bool has_file;

	form->head[form->head_len] = '\0';
	if (strlen(form->head) != form->head_len || ++form->parts > FORM_PARTS_MAX)
		return -EBADMSG;
	for (; line; line = next) {
		next = strstr(line, "\r\n");
		if (next) {
			*next = '\0';
			next += 2;
		}
		if (strncasecmp(line, wanted, sizeof(wanted) - 1))
			continue;
		if (!parameter(line + sizeof(wanted) - 1, "name", name, sizeof(name)))
			return -EBADMSG;
		has_file = parameter(line + sizeof(wanted) - 1, "filename", file, sizeof(file));
		form->place = DATA;
		return form->sink.part(form->sink.arg, name, has_file ? file : NULL);
	}
	return -EBADMSG;
}

/* One byte behind a boundary, or of a part's head. */
static int take_head(struct form *form, char c)
{
	if (form->place == BEHIND) {
		/* Blanks may be there for whatever reason (transport padding). */
		if (!form->nbehind && (c == ' ' || c == '\t'))
			return 0;
		form->behind[form->nbehind++] = c;
		if (form->nbehind < 2)
			return 0;
		form->nbehind = 0;
		if (!memcmp(form->behind, "--", 2)) {
			form->place = EPILOGUE;
			return 0;
		}
		form->place = HEAD;
		form->head_len = 0;
		return memcmp(form->behind, "\r\n", 2) ? -EBADMSG : 0;
	}
	if (form->head_len == FORM_HEAD_MAX)
		return -EBADMSG;
	form->head[form->head_len++] = c;
	if (form->head_len >= 4 && !memcmp(form->head + form->head_len - 4, "\r\n\r\n", 4)) {
		form->head_len -= 4;
		form->matched = form->phantom = 2; /* an empty part's boundary follows at once */
		return head_done(form);
	}
	return 0;
}

/* Bytes that were kept back and are data after all, or none in the preamble. */
static int give(struct form *form, const void *data, size_t len)
{
	return form->place == DATA && len ? form->sink.data(form->sink.arg, data, len) : 0;
}

static int boundary_done(struct form *form)
{
	bool part = form->place == DATA;

	form->place = BEHIND;
	form->matched = form->phantom = 0;
	return part ? form->sink.end(form->sink.arg) : 0;
}

/* Data up to a boundary, as far as this piece goes. *used: bytes taken. */
static int take_data(struct form *form, const char *p, size_t len, size_t *used)
{
	size_t at = 0, start = 0; /* start: what is not yet given away begins here */
	int rc = 0;

	while (!rc && at < len) {
		if (!form->matched) {
			const char *cr = memchr(p + at, '\r', len - at);

			at = cr ? (size_t)(cr - p) : len;
			rc = give(form, p + start, at - start);
			start = at;
			if (!cr)
				break;
		}
		if (p[at] == form->mark[form->matched]) {
			at++;
			if (++form->matched == form->mark_len) {
				*used = at;
				return boundary_done(form);
			}
			start = at;
			continue;
		}
		/* CR is in the mark at its beginning alone: what was matched is data. */
		rc = give(form, form->mark + form->phantom, form->matched - form->phantom);
		form->matched = form->phantom = 0;
		start = at;
	}
	*used = len;
	return rc;
}

int form_feed(struct form *form, const void *data, size_t len)
{
	const char *p = data;
	size_t used;

	while (!form->rc && len && form->place != EPILOGUE) {
		used = 1;
		if (form->place == BEHIND || form->place == HEAD) {
			form->rc = take_head(form, *p);
		} else {
			form->rc = take_data(form, p, len, &used);
		}
		p += used;
		len -= used;
	}
	return form->rc;
}

int form_end(struct form *form)
{
	if (form->rc)
		return form->rc;
	return form->place == EPILOGUE ? 0 : -EBADMSG;
}
