/*
 * test_view_writer_path.c - where a writer's file goes, and what it looks like there:
 * lib/view/writer.c, os/spot.c, os/replace.c.
 */
#include "writer_fixture.h"
#include <fcntl.h>
#include <sys/xattr.h>

#define NOBODY 65534

static void skip_unless_root(void)
{
	if (geteuid() != 0)
		skip();
}

/* ---- the path ------------------------------------------------------------------------ */

static void the_old_file_stays_until_finish(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file"), *other = fx_path(dir, "other");
	char *bytes = content(3 * BUFFER, 2);
	comap_writer *writer;

	(void)state;
	make_file(path, 100, 1);
	assert_int_equal(link(path, other), 0);
	for (unsigned i = 0; i < 2; i++) {
		writer = open_writer(path, 0);
		assert_int_equal(comap_writer_write(writer, bytes, 3 * BUFFER), 0);
		assert_true(has_content(path, 100, 1));
		assert_int_equal(count_names(dir), 2);
		if (i == 1)
			break;
		errno = EXDEV;
		comap_writer_abort(writer);
		assert_int_equal(errno, EXDEV);
		assert_true(has_content(path, 100, 1));
	}
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	assert_true(has_content(path, 3 * BUFFER, 2));
	assert_true(has_content(other, 100, 1)); /* a link to the old one */
	assert_int_equal(count_names(dir), 2);
	comap_writer_abort(NULL);
	free(bytes);
	fx_rmdir(dir);
}

static void a_link_leads_to_the_file_that_is_replaced(void **state)
{
	const char *dir = fx_mkdir();
	char sub[128], file[160], near[160], far[160], text[300];

	(void)state;
	snprintf(sub, sizeof sub, "%s/sub", dir);
	snprintf(file, sizeof file, "%s/file", sub);
	snprintf(near, sizeof near, "%s/near", dir);
	snprintf(far, sizeof far, "%s/far", sub);
	assert_int_equal(mkdir(sub, 0700), 0);
	assert_int_equal(symlink("sub/../sub/far", near), 0);
	assert_int_equal(symlink(file, far), 0);
	for (unsigned i = 0; i < 3; i++) { /* at first it leads to nothing */
		assert_int_equal(write_file(near, 1000, i), 0);
		assert_true(has_content(file, 1000, i));
		assert_int_equal(count_names(dir), 2);
		assert_int_equal(count_names(sub), 2);
	}
	assert_true(readlink(near, text, sizeof text) > 0);
	assert_true(readlink(far, text, sizeof text) > 0);
	fx_rmdir(sub);
	fx_rmdir(dir);
}

static void nofollow_replaces_the_link(void **state)
{
	const char *dir = fx_mkdir(), *file = fx_path(dir, "file"), *name = fx_path(dir, "name");
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	struct stat st;
	mode_t mask = umask(026);

	(void)state;
	make_file(file, 100, 1);
	assert_int_equal(symlink("file", name), 0);
	opts.flags = COMAP_WRITER_NOFOLLOW;
	assert_int_equal(open_error(name, COMAP_WRITER_NOFOLLOW | COMAP_WRITER_APPEND), -ELOOP);
	assert_int_equal(write_file_as(name, &opts, 200, 2, SIZE_MAX, COMAP_WRITER_DURABLE), 0);
	umask(mask);
	assert_int_equal(lstat(name, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_true(has_content(file, 100, 1));
	assert_true(has_content(name, 200, 2));
	fx_rmdir(dir);
}

static void what_is_no_file_is_refused(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "it");
	char slash[200], name[5000];

	(void)state;
	snprintf(slash, sizeof slash, "%s/", path);
	for (uint32_t flags = 0; flags <= COMAP_WRITER_APPEND; flags++) {
		assert_int_equal(open_error(dir, flags), -EISDIR);
		assert_int_equal(open_error(slash, flags), -ENOENT);
		assert_int_equal(open_error("/", flags), -EISDIR);
		assert_int_equal(open_error("..", flags), -EISDIR);
		assert_int_equal(open_error("/dev/null", flags), -ENODEV);
		assert_int_equal(open_error("/dev/stdout", flags), -ENODEV);
		assert_int_equal(open_error("", flags), -ENOENT);
		assert_int_equal(mkfifo(path, 0600), 0);
		assert_int_equal(open_error(path, flags), -ENODEV);
		unlink(path);
		assert_int_equal(symlink("it", path), 0);
		assert_int_equal(open_error(path, flags), -ELOOP);
		unlink(path);
		make_file(path, 1, 1);
		assert_int_equal(open_error(slash, flags), -ENOTDIR);
		unlink(path);
	}
	memset(name, 'n', sizeof name);
	name[256] = '\0';
	assert_int_equal(open_error(name, 0), -ENAMETOOLONG);
	name[256] = 'n';
	memset(name, '/', 4500);
	name[4999] = '\0';
	assert_int_equal(open_error(name, 0), -ENAMETOOLONG);
	assert_int_equal(open_error(NULL, 0), -EINVAL);
	fx_rmdir(dir);
}

static void what_came_to_the_path_meanwhile_stays(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "it");
	comap_writer *writer = open_writer(path, 0);

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_DURABLE), -ENODEV);
	assert_int_equal(unlink(path), 0);
	writer = open_writer(path, 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), -EISDIR);
	assert_int_equal(count_names(dir), 1);
	fx_rmdir(dir);
}

static void exclusive_never_replaces(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "it");
	comap_writer *writer;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		cm_os_no_tmpfile = i & 1;
		writer = open_writer(path, COMAP_WRITER_EXCL);
		assert_int_equal(comap_writer_write(writer, "new", 3), 0);
		if (i & 2)
			make_file(path, 100, i);
		assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_DURABLE), i & 2 ? -EEXIST : 0);
		assert_true(is_there(path));
		assert_true(!(i & 2) || has_content(path, 100, i));
		assert_int_equal(count_names(dir), 1);
		unlink(path);
	}
	cm_os_no_tmpfile = false;
	assert_int_equal(open_error(path, COMAP_WRITER_EXCL | COMAP_WRITER_APPEND), -EINVAL);
	fx_rmdir(dir);
}

static void the_folder_is_found_again(void **state)
{
	const char *dir = fx_mkdir();
	char a[128], b[128], in_b[160], cwd[4096];
	comap_writer *by_fd = NULL, *by_cwd;
	int fd;

	(void)state;
	snprintf(a, sizeof a, "%s/a", dir);
	snprintf(b, sizeof b, "%s/b", dir);
	assert_int_equal(mkdir(a, 0700), 0);
	assert_non_null(getcwd(cwd, sizeof cwd));
	fd = open(a, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(comap_writer_open_at(fd, "one", NULL, &by_fd), 0);
	close(fd);
	assert_int_equal(chdir(a), 0);
	by_cwd = open_writer("two", 0);
	assert_int_equal(chdir(cwd), 0);
	assert_int_equal(rename(a, b), 0);
	assert_int_equal(mkdir(a, 0700), 0);
	assert_int_equal(comap_writer_write(by_fd, "1", 1), 0);
	assert_int_equal(comap_writer_finish(by_fd, COMAP_WRITER_DURABLE), 0);
	assert_int_equal(comap_writer_finish(by_cwd, COMAP_WRITER_PLAIN), 0);
	snprintf(in_b, sizeof in_b, "%s/one", b);
	assert_true(is_there(in_b));
	snprintf(in_b, sizeof in_b, "%s/two", b);
	assert_true(is_there(in_b));
	assert_int_equal(count_names(a), 0);
	assert_int_equal(comap_writer_open_at(-1, "one", NULL, &by_fd), -EBADF);
	fx_rmdir(b);
	fx_rmdir(dir);
}

static void a_folder_that_was_removed_is_enoent(void **state)
{
	const char *dir = fx_mkdir(), *sub = fx_path(dir, "sub");
	char path[160];

	(void)state;
	snprintf(path, sizeof path, "%s/file", sub);
	for (unsigned i = 0; i < 4; i++) {
		comap_writer *writer;

		cm_os_no_tmpfile = i & 1;
		assert_int_equal(mkdir(sub, 0700), 0);
		if (i & 2)
			make_file(path, 10, 1);
		writer = open_writer(path, 0);
		assert_int_equal(comap_writer_write(writer, "x", 1), 0);
		fx_rmdir(sub);
		assert_int_equal(comap_writer_finish(writer, i & 2 ? COMAP_WRITER_DURABLE : 0), -ENOENT);
		assert_non_null(strstr(comap_view_reason(), path));
	}
	cm_os_no_tmpfile = false;
	assert_int_equal(open_error(path, 0), -ENOENT);
	fx_rmdir(dir);
}

static void without_tmpfile_a_name_beside_it_is_used(void **state)
{
	const char *dir = fx_mkdir();
	char path[400], name[256];
	comap_writer *writer;

	(void)state;
	cm_os_no_tmpfile = true;
	memset(name, 'n', 255);
	name[255] = '\0';
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, i ? name : "file");
		for (unsigned turn = 0; turn < 3; turn++) {
			writer = open_writer(path, 0);
			assert_int_equal(comap_writer_write(writer, "x", 1), 0);
			assert_int_equal(count_names(dir), turn ? 2 : 1);
			if (turn == 2)
				comap_writer_abort(writer);
			else
				assert_int_equal(comap_writer_finish(writer, turn ? COMAP_WRITER_DURABLE
									  : COMAP_WRITER_PLAIN),
						 0);
			assert_int_equal(count_names(dir), 1);
			assert_true(is_there(path));
		}
		unlink(path);
	}
	cm_os_no_tmpfile = false;
	/* with it, the name beside it is there for a moment only, but must fit as well */
	for (unsigned turn = 0; turn < 2; turn++)
		assert_int_equal(write_file(path, 100, turn), 0);
	assert_true(has_content(path, 100, 1));
	assert_int_equal(count_names(dir), 1);
	fx_rmdir(dir);
}

/* ---- permissions --------------------------------------------------------------------- */

static void permissions_are_those_of_the_old_file(void **state)
{
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file");
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	mode_t mask = umask(027);

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		cm_os_no_tmpfile = i;
		unlink(path);
		assert_int_equal(write_file(path, 10, 1), 0);
		assert_int_equal(permissions(path), 0640);
		for (mode_t mode = 0; mode <= 07777; mode += 0123) {
			assert_int_equal(chmod(path, mode), 0);
			assert_int_equal(write_file(path, 10, mode), 0);
			assert_int_equal(permissions(path), mode);
		}
		for (uint32_t mode = 1; mode <= 07777; mode += 0123) {
			opts.permissions = mode;
			assert_int_equal(
				write_file_as(path, &opts, 10, mode, 1, COMAP_WRITER_PLAIN), 0);
			assert_int_equal(permissions(path), mode);
		}
		/* a file that came meanwhile is the one it replaces */
		unlink(path);
		{
			comap_writer *writer = open_writer(path, 0);

			make_file(path, 10, 1);
			assert_int_equal(chmod(path, 0604), 0);
			assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
			assert_int_equal(permissions(path), 0604);
			/* and one that went meanwhile was */
			writer = open_writer(path, 0);
			unlink(path);
			assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
			assert_int_equal(permissions(path), 0604);
		}
	}
	cm_os_no_tmpfile = false;
	opts.permissions = 010000;
	assert_int_equal(write_file_as(path, &opts, 1, 1, 1, COMAP_WRITER_PLAIN), -EINVAL);
	umask(mask);
	fx_rmdir(dir);
}

static void the_owner_is_kept_where_we_may(void **state)
{
	const char *dir, *path;
	struct stat st;

	(void)state;
	skip_unless_root();
	dir = fx_mkdir();
	path = fx_path(dir, "file");
	make_file(path, 10, 1);
	assert_int_equal(chown(path, 1234, 4321), 0);
	assert_int_equal(chmod(path, 06751), 0);
	assert_int_equal(write_file(path, 10, 2), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 4321);
	assert_int_equal(st.st_mode & 07777, 06751);
	fx_rmdir(dir);
}

static int replace_as_nobody(void *path)
{
	KIN_CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
	KIN_CHECK(write_file(path, 10, 2) == 0);
	return 0;
}

static void trust_is_not_passed_on_to_another_owner(void **state)
{
	const char *dir, *path;
	struct stat st;

	(void)state;
	skip_unless_root();
	dir = fx_mkdir();
	path = fx_path(dir, "file");
	assert_int_equal(chmod(dir, 0777), 0);
	make_file(path, 10, 1);
	assert_int_equal(chmod(path, 06774), 0);
	assert_int_equal(kin_run(replace_as_nobody, (void *)(uintptr_t)path), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, NOBODY);
	assert_int_equal(st.st_gid, NOBODY);
	assert_int_equal(st.st_mode & 07777, 0744);
	fx_rmdir(dir);
}

static int replace_in_a_folder_that_cannot_be_read(void *path)
{
	KIN_CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
	KIN_CHECK(write_file_as(path, NULL, 10, 2, 1, COMAP_WRITER_DURABLE) == 0);
	return 0;
}

static void a_folder_need_not_be_readable_to_be_durable(void **state)
{
	const char *dir, *path;

	(void)state;
	skip_unless_root();
	dir = fx_mkdir();
	path = fx_path(dir, "file");
	assert_int_equal(chmod(dir, 0733), 0);
	assert_int_equal(kin_run(replace_in_a_folder_that_cannot_be_read, (void *)(uintptr_t)path), 0);
	assert_true(has_content(path, 10, 2));
	fx_rmdir(dir);
}

struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entry[5];
};

static void the_access_control_list_is_kept(void **state)
{
	/* owner rw, user 1234 rw, group ---, mask rw, others ---: stat says 0660 */
	static const struct acl acl = {
		2, { { 1, 6, ~0u }, { 2, 6, 1234 }, { 4, 0, ~0u }, { 16, 6, ~0u }, { 32, 0, ~0u } }
	};
	const char *dir = fx_mkdir(), *path = fx_path(dir, "file"), *other = fx_path(dir, "other");
	struct acl got;

	(void)state;
	make_file(path, 10, 1);
	make_file(other, 10, 1);
	assert_int_equal(chmod(other, 0640), 0);
	if (setxattr(path, "system.posix_acl_access", &acl, sizeof acl, 0) < 0) {
		fx_rmdir(dir);
		skip();
	}
	assert_int_equal(permissions(path), 0660);
	assert_int_equal(write_file(path, 10, 2), 0);
	assert_int_equal(getxattr(path, "system.posix_acl_access", &got, sizeof got), sizeof acl);
	assert_memory_equal(&got, &acl, sizeof acl);
	/* a list that the folder would give to new files is not the old file's */
	assert_int_equal(setxattr(dir, "system.posix_acl_default", &acl, sizeof acl, 0), 0);
	assert_int_equal(write_file(other, 10, 2), 0);
	assert_int_equal(permissions(other), 0640);
	assert_true(getxattr(other, "system.posix_acl_access", &got, sizeof got) < 0);
	fx_rmdir(dir);
}

static void a_strangers_link_in_a_folder_like_tmp_is_not_followed(void **state)
{
	const char *dir, *file, *name;

	(void)state;
	skip_unless_root();
	dir = fx_mkdir();
	file = fx_path(dir, "file");
	name = fx_path(dir, "name");
	make_file(file, 10, 1);
	assert_int_equal(chmod(dir, 01777), 0);
	assert_int_equal(symlink("file", name), 0);
	assert_int_equal(lchown(name, 1234, 1234), 0);
	assert_int_equal(open_error(name, 0), -EACCES);
	assert_int_equal(open_error(name, COMAP_WRITER_APPEND), -EACCES);
	assert_int_equal(lchown(name, 0, 0), 0);
	assert_int_equal(open_error(name, 0), 0);
	fx_rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KIN_TEST(the_old_file_stays_until_finish),
		KIN_TEST(a_link_leads_to_the_file_that_is_replaced),
		KIN_TEST(nofollow_replaces_the_link),
		KIN_TEST(what_is_no_file_is_refused),
		KIN_TEST(what_came_to_the_path_meanwhile_stays),
		KIN_TEST(exclusive_never_replaces),
		KIN_TEST(the_folder_is_found_again),
		KIN_TEST(a_folder_that_was_removed_is_enoent),
		KIN_TEST(without_tmpfile_a_name_beside_it_is_used),
		KIN_TEST(permissions_are_those_of_the_old_file),
		KIN_TEST(the_owner_is_kept_where_we_may),
		KIN_TEST(trust_is_not_passed_on_to_another_owner),
		KIN_TEST(a_folder_need_not_be_readable_to_be_durable),
		KIN_TEST(the_access_control_list_is_kept),
		KIN_TEST(a_strangers_link_in_a_folder_like_tmp_is_not_followed),
	};

	return cmocka_run_group_tests_name("writer path", tests, NULL, NULL);
}
