#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# style.sh - what can be seen of the style of C without knowing the language, in
# all of it: the same verdict on every machine, which formatters of different
# versions do not give.  (.clang-format is for editors; kernel/ is looked at by
# checkpatch as well, kernel/check-build.sh style.)  Says where it is broken.
#
#	style.sh [FILE...]

cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- $(git ls-files '*.[ch]' 2>/dev/null ||
	find backend tests kernel -name '*.[ch]')

awk '
function bad(what) {
	printf "%s:%d: %s\n", FILENAME, FNR, what
	n++
}
FNR == 1 {
	if (last_name && last_line == "")
		printf "%s: ends with an empty line\n", last_name
	last_name = FILENAME
	if (!/SPDX-License-Identifier: /)
		bad("no SPDX line")
	in_comment = 0
}
{
	last_line = $0
	line = $0
	# Columns, a tab being up to eight.
	width = 0
	for (i = 1; i <= length(line); i++)
		width = substr(line, i, 1) == "\t" ? width + 8 - width % 8 : width + 1
	# A text is found by grep as it is printed; so is an address.
	# kernel/ has what checkpatch has.
	limit = FILENAME ~ /^kernel\// ? 100 : 80
	if (width > limit && line !~ /"/ && line !~ /https?:/)
		bad("more than " limit " columns (" width ")")
	if (line ~ /[ \t]$/)
		bad("blanks at the end")
	if (line ~ /^ {8}/ || line ~ /^\t* +\t/)
		bad("blanks where a tab belongs")
	if (line ~ /\r/)
		bad("a carriage return")

	code = line
	gsub(/"([^"\\]|\\.)*"/, "\"\"", code)
	gsub(/\047([^\047\\]|\\.)*\047/, "0", code)
	if (in_comment || code ~ /^[ \t]*\*/ || code ~ /^[ \t]*\/\*/) {
		in_comment = code !~ /\*\//
		if (code ~ /\/\*/ && code ~ /\*\//)
			in_comment = 0
		next
	}
	sub(/\/\*.*\*\/.*/, "", code)
	if (code ~ /\/\*/)
		in_comment = 1
	sub(/\/\*.*/, "", code)
	if (FNR > 1 && code ~ /(^|[^:])\/\//)
		bad("a // comment")
	if (code ~ /(^|[^a-z_])(if|for|while|switch|return)\(/ && code !~ /^#/)
		bad("no blank between a keyword and its parenthesis")
	if (code ~ /^\t+(} )?(if|for|while|switch).*\)\{$/ ||
	    code ~ /(else|do|struct|union|enum)\{$/)
		bad("no blank before a brace")
	if (code ~ /^\t+else$/ && before ~ /^\t+}$/)
		bad("else belongs behind the brace")
	if (code ~ /^[a-z].*\) \{$/ && code !~ /=|^(struct|enum|union|extern|static const)/)
		bad("the brace of a function has a line of its own")
	before = code
}
END {
	exit n > 0
}' "$@"
