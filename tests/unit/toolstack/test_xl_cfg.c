// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * test_xl_cfg.c - a guest's configuration (backend/toolstack/xl_cfg.c): what xl
 * takes is taken, what is wrong is said with line and column, and no bytes do
 * harm.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"
#include "lib/util.h"
#include "toolstack/xl_cfg.h"

static struct vg_xl_cfg cfg;
static char *why;

static int parse(const char *text)
{
	vg_xl_cfg_free(&cfg);
	free(why);
	why = NULL;
	return vg_xl_cfg_parse("g.cfg", text, strlen(text), &cfg, &why);
}

static int teardown(void **state)
{
	(void)state;
	vg_xl_cfg_free(&cfg);
	free(why);
	why = NULL;
	return 0;
}

static void assert_device(unsigned int i, const char *text, unsigned int line,
			  unsigned int column)
{
	assert_true(i < cfg.nr_devices);
	assert_string_equal(cfg.device[i].text, text);
	assert_int_equal(cfg.device[i].line, line);
	assert_int_equal(cfg.device[i].column, column);
}

static void a_whole_file(void **state)
{
	(void)state;
	assert_int_equal(parse(
		"# a guest\n"
		"name = 'g1' ; memory=512\n"
		"vcpus = 0x2\t# two\n"
		"disk = [ 'format=raw, vdev=xvda, target=/a', ]\n"
		"vnuma = [ [ \"pnode=0\", [ 'x' ] ], [\n] ]\n"
		"extra=\"a=\\\"b\\\" \\x41 \\101\"\n"
		"\n"
		"virtio_grant = [\n"
		"\t\"backend=DomD,type=blk,target=/dev/vg0/x\", # root\n"
		"\n"
		"  'type=rng'\n"
		"]"), 0);
	assert_string_equal(cfg.name, "g1");
	assert_int_equal(cfg.nr_devices, 2);
	assert_device(0, "backend=DomD,type=blk,target=/dev/vg0/x", 10, 2);
	assert_device(1, "type=rng", 12, 3);
}

static void little_ones(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_null(cfg.name);
	assert_int_equal(cfg.nr_devices, 0);
	assert_int_equal(parse("#"), 0);
	assert_int_equal(parse(";;\n;\r\n"), 0);
	assert_int_equal(parse("virtio_grant=[]"), 0);
	assert_int_equal(parse("name=\"\""), 0);
	assert_string_equal(cfg.name, "");
	assert_int_equal(parse("name=5"), 0);
	assert_string_equal(cfg.name, "5");
}

static void the_last_counts(void **state)
{
	(void)state;
	assert_int_equal(parse("name='a'\nvirtio_grant=['x']\nname='b'\n"
			       "virtio_grant=['y']\nvirtio_grant+=['z',]\n"
			       "name+='c'"), 0);
	assert_string_equal(cfg.name, "bc");
	assert_int_equal(cfg.nr_devices, 2);
	assert_device(0, "y", 4, 15);
	assert_device(1, "z", 5, 16);
	assert_int_equal(parse("virtio_grant+=['z']"), 0);
	assert_device(0, "z", 1, 16);
}

static void escapes(void **state)
{
	(void)state;
	assert_int_equal(parse("virtio_grant=['a\\'b\\\\', \"c\\td'\"]"), 0);
	assert_device(0, "a'b\\", 1, 15);
	assert_device(1, "c\td'", 1, 25);
}

static void what_is_wrong(void **state)
{
	static const char *const all[][2] = {
		{ "name = 'a", "g.cfg:1:8: a string that has no end" },
		{ "name = 'a\n'", "g.cfg:1:8: a string that has no end" },
		{ "name = 'a\\'", "g.cfg:1:8: a string that has no end" },
		{ "\n  name 'a'", "g.cfg:2:8: no = behind" },
		{ "name", "g.cfg:1:5: no = behind" },
		{ "name =", "g.cfg:1:7: neither a string" },
		{ "name = \n'a'", "g.cfg:1:8: neither a string" },
		{ "name = a", "g.cfg:1:8: neither a string" },
		{ "name = 'a' 'b'", "g.cfg:1:12: something behind" },
		{ "'a' = 'b'", "g.cfg:1:1: not the name" },
		{ "name = ['a']", "g.cfg:1:1: name is no string" },
		{ "x=1\n virtio_grant = 'a'", "g.cfg:2:2: virtio_grant is no list" },
		{ "virtio_grant = [['a']]", "g.cfg:1:1: virtio_grant is no list" },
		{ "virtio_grant = ['a' 'b']", "g.cfg:1:21: no comma" },
		{ "virtio_grant = ['a'", "g.cfg:1:20: no comma" },
		{ "virtio_grant = ['a',", "g.cfg:1:21: neither" },
		{ "virtio_grant = [,]", "g.cfg:1:17: neither" },
		{ "virtio_grant = ['a';]", "g.cfg:1:20: no comma" },
		{ "virtio_grant = ['\\x41']", "g.cfg:1:1: a \\ in one" },
		{ "name='a'\nname+=['b']", "g.cfg:2:1: name is no string" },
		{ "import os.path", "g.cfg:1:8: no = behind" },
		{ "x = (1)", "g.cfg:1:5: a character that means nothing" },
		{ "x=[[[[[[[[[[[[[[[[[[1", "g.cfg:1:19: lists in lists" },
		{ "x=1\n\033[2J", "g.cfg:2:1: a character that means" },
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		assert_int_equal(parse(all[i][0]), -EINVAL);
		if (strncmp(why, all[i][1], strlen(all[i][1])))
			fail_msg("\"%s\", not \"%s\"", why, all[i][1]);
	}
}

static void files(void **state)
{
	char *dir = unit_tmpdir(), *path = vg_strf("%s/g.cfg", dir);
	FILE *f;

	(void)state;
	assert_int_equal(vg_xl_cfg_read(path, &cfg, &why), -ENOENT);
	assert_non_null(strstr(why, "g.cfg: No such file"));
	free(why);
	why = NULL;
	f = fopen(path, "w");
	fputs("name = 'g1'\n", f);
	fclose(f);
	assert_int_equal(vg_xl_cfg_read(path, &cfg, &why), 0);
	assert_string_equal(cfg.name, "g1");
	vg_xl_cfg_free(&cfg);
	assert_int_equal(truncate(path, 2 << 20), 0);
	assert_int_equal(vg_xl_cfg_read(path, &cfg, &why), -EFBIG);
	free(why);
	why = NULL;
	assert_int_equal(vg_xl_cfg_read(dir, &cfg, &why), -EISDIR);
	free(path);
	unit_rm_r(dir);
}

static uint64_t seed = 1;

static unsigned int dice(unsigned int n)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (unsigned int)(seed >> 33) % n;
}

/* ASan looks on; each ends, with a text or without. */
static void any_bytes(void **state)
{
	static const char alphabet[] = "ab01=+;,[]'\"\\\n\t #x_\x80";
	static const char good[] = "name = 'g1'\nvirtio_grant = [\n'a=1',\n"
		"\"b\\\"\" ] # c\nvirtio_grant += [ 'x' ]; name += 'y'\n";
	char text[128];
	unsigned int i, k, n;

	(void)state;
	for (i = 0; i < 100000; i++) {
		n = sizeof(good) - 1;
		memcpy(text, good, n);
		if (i % 2)
			n = dice(sizeof(text));
		for (k = 0; i % 2 && k < n; k++)
			text[k] = alphabet[dice(sizeof(alphabet))];
		for (k = dice(6); k; k--)
			text[dice(n + 1)] = alphabet[dice(sizeof(alphabet))];
		if (vg_xl_cfg_parse("f", text, n, &cfg, &why))
			assert_non_null(why);
		else
			assert_null(why);
		teardown(NULL);
	}
}

int main(void)
{
#define T(f)	cmocka_unit_test_teardown(f, teardown)
	const struct CMUnitTest tests[] = {
		T(a_whole_file),
		T(little_ones),
		T(the_last_counts),
		T(escapes),
		T(what_is_wrong),
		T(files),
		T(any_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
