/*
 * report_form.c - text, XML and JSON: their marks, and the letters they cannot hold.
 *
 * Texts in a report are names of threads: any bytes, some of them there to do
 * harm.  They are read as UTF-8, strictly: no overlong forms, no surrogates.
 * What is left is a letter, and each form says how it stands there.
 */
#include <inttypes.h>
#include <string.h>
#include "base/base.h"
#include "heap/report.h"

#define BAD_LETTER UINT32_MAX
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

static void text_escape(char *to, size_t size, uint32_t letter)
{
	bool is_control = letter < 0x20 || (letter >= 0x7f && letter < 0xa0);

	snprintf(to, size, "%s", is_control || letter == BAD_LETTER ? "?" : "");
}

static void xml_escape(char *to, size_t size, uint32_t letter)
{
	bool is_space = letter == '\t' || letter == '\n' || letter == '\r';

	if (is_space || letter == '<' || letter == '>' || letter == '&' || letter == '"')
		snprintf(to, size, "&#%" PRIu32 ";", letter);
	else if (letter < 0x20 || letter == 0xfffe || letter == 0xffff || letter == BAD_LETTER)
		snprintf(to, size, REPLACEMENT);
}

static void json_escape(char *to, size_t size, uint32_t letter)
{
	if (letter == BAD_LETTER)
		snprintf(to, size, REPLACEMENT);
	else if (letter < 0x20 || letter == 0x7f || letter == '"' || letter == '\\')
		snprintf(to, size, "\\u%04" PRIx32, letter);
}

const struct cm_form cm_forms[CM_FORMS] = {
	[COMAP_REPORT_TEXT] = {
		.head = "comap heap, library %s\n", .tail = "",
		.begin = { "\n%s\n", "\n%s\n" }, .end = { "", "" },
		.row = { "", "" }, .row_end = { "", "\n" },
		.next_row = "", .none = "none", .escape = text_escape,
	},
	[COMAP_REPORT_XML] = {
		.head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<comap version=\"1\" library=\"%s\">\n",
		.tail = "</comap>\n",
		.begin = { "", "<%s>\n" }, .end = { "", "</%s>\n" },
		.row = { "<%s ", "<%s " }, .row_end = { "/>\n", "/>\n" },
		.next_row = "", .next_cell = { "\n  ", " " }, .cell = { "%s=\"%s\"", "%s=\"%s\"" },
		.none = "none", .escape = xml_escape,
	},
	[COMAP_REPORT_JSON] = {
		.head = "{\"comap\": 1, \"library\": \"%s\"", .tail = "\n}\n",
		.begin = { ",\n\"%s\": ", ",\n\"%s\": [" }, .end = { "", "]" },
		.row = { "{", "\n{" }, .row_end = { "}", "}" },
		.next_row = ",", .next_cell = { ",\n  ", ", " }, .cell = { "\"%s\": %s", "\"%s\": \"%s\"" },
		.none = "null", .escape = json_escape,
	},
};

/* How many bytes the letter at s has; one that is no UTF-8 is bad, and one byte. */
static unsigned letter_at(const unsigned char *s, uint32_t *ret_letter)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned n = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
	uint32_t letter = n == 1 ? s[0] : s[0] & (0x7fu >> n);
	unsigned i = 1;

	for (; i < n && s[i] >> 6 == 2; i++) /* no further than the 0 behind a name cut short */
		letter = letter << 6 | (s[i] & 0x3f);
	if (n == 0 || i < n || letter < least[n] || letter > 0x10ffff || letter >> 11 == 0x1b) {
		*ret_letter = BAD_LETTER;
		return 1;
	}
	*ret_letter = letter;
	return n;
}

void cm_form_text(const struct cm_form *form, const char *text, char *to, size_t size)
{
	const unsigned char *s = (const unsigned char *)text;
	uint32_t letter;

	for (unsigned n; *s; s += n) {
		n = letter_at(s, &letter);
		to[0] = '\0';
		form->escape(to, size, letter);
		if (to[0] == '\0')
			snprintf(to, size, "%.*s", (int)n, (const char *)s);
		size -= strlen(to);
		to += strlen(to);
	}
}
