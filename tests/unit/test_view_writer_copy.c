/* test_view_writer_copy.c - views into writers: by the kernel, by the buffer, and what others cut
 * (writer_bytes.c). */
#include "writer_fixture.h"
#include <pthread.h>
#include "view/view.h"
#include <sys/resource.h>

enum kind { MAPPED, MAPPED_WITHOUT_FILE, COPIED, PRIVATE, GIVEN, NKINDS };

static char given[9999999];

static comap_view *view_of(enum kind kind, const char *path, size_t n, uint64_t seed)
{
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	char *bytes;
	comap_view *view;

	make_file(path, n, seed);
	if (kind == GIVEN) {
		bytes = content(n, seed);
		memcpy(given, bytes, n);
		free(bytes);
		assert_int_equal(comap_view_open_memory(given, n, NULL, NULL, &view), 0);
		return view;
	}
	o.how = kind == COPIED ? COMAP_VIEW_COPY : COMAP_VIEW_MAP;
	o.mode = kind == PRIVATE ? COMAP_VIEW_PRIVATE : COMAP_VIEW_READ;
	o.flags = kind == MAPPED_WITHOUT_FILE ? COMAP_VIEW_NO_FD : 0;
	assert_int_equal(comap_view_open(path, &o, &view), 0);
	return view;
}

static void every_byte_arrives_whatever_the_view(void **state)
{
	static const size_t sizes[] = { 1, 4096, BUFFER, BUFFER + 1, 5 * BUFFER + 77, 9999999 };
	const char *from = fx_path(fx_folder, "from"), *to = fx_path(fx_folder, "to");
	comap_writer *writer;
	comap_view *view;

	(void)state;
	for (unsigned kind = 0; kind < NKINDS; kind++)
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			view = view_of(kind, from, sizes[i], 7);
			writer = open_writer(to, 0);
			assert_int_equal(comap_writer_copy(writer, view, 0, 0), 0);
			assert_int_equal(comap_writer_size(writer), sizes[i]);
			assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
			assert_true(has_content(to, sizes[i], 7));
			comap_view_close(view);
		}
}

/* Parts that begin and end anywhere, between bytes that are written. */
static void parts_are_put_behind_what_came_before(void **state)
{
	const char *from = fx_path(fx_folder, "from"), *to = fx_path(fx_folder, "to");
	size_t n = 4000000, off, k, done;
	char *bytes = content(n, 3);
	uint64_t seed = 1;
	comap_writer *writer;
	comap_view *view, *part;

	(void)state;
	for (unsigned kind = 0; kind < NKINDS; kind++) {
		for (int is_append = 0; is_append < 2; is_append++) {
			view = view_of(kind, from, n, 3);
			unlink(to);
			writer = open_writer(to, is_append ? COMAP_WRITER_APPEND : 0);
			for (done = 0, off = 0; off < n; off += k, done++) {
				k = cm_min(1 + fx_random(&seed) % (done % 3 ? 5000 : 700000), n - off);
				if (done % 2) {
					assert_int_equal(comap_writer_write(writer, bytes + off, k), 0);
					continue;
				}
				assert_int_equal(comap_view_sub(view, off / 2, n - off / 2, &part), 0);
				assert_int_equal(comap_writer_copy(writer, part, off - off / 2, k), 0);
				comap_view_close(part);
			}
			assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
			assert_true(has_content(to, n, 3));
			comap_view_close(view);
		}
	}
	free(bytes);
}

static void a_view_from_the_midst_of_a_file_is_copied_from_there(void **state)
{
	const char *from = fx_path(fx_folder, "from"), *to = fx_path(fx_folder, "to");
	struct comap_view_opts o = COMAP_VIEW_OPTS_INIT;
	char *bytes = content(5 * BUFFER, 3), *got = malloc(2 * BUFFER);
	comap_writer *writer = open_writer(to, 0);
	comap_view *view;
	FILE *file;

	(void)state;
	make_file(from, 5 * BUFFER, 3);
	o.how = COMAP_VIEW_MAP;
	o.offset = 5000;
	assert_int_equal(comap_view_open(from, &o, &view), 0);
	assert_int_equal(comap_writer_copy(writer, view, 77, 2 * BUFFER), 0);
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	file = fopen(to, "re");
	assert_int_equal(fread(got, 1, 2 * BUFFER, file), 2 * BUFFER);
	fclose(file);
	assert_memory_equal(got, bytes + 5077, 2 * BUFFER);
	comap_view_close(view);
	free(got);
	free(bytes);
}

/* Between these two the kernel copies nothing: EXDEV. */
static void a_view_of_another_file_system_is_copied(void **state)
{
	const char *to = fx_path(fx_folder, "to");
	char *bytes = content(5 * BUFFER, 3);
	comap_writer *writer = open_writer(to, 0);
	comap_view *view;

	(void)state;
	assert_int_equal(comap_view_open_memfd("from", 5 * BUFFER, &view), 0);
	memcpy(comap_view_writable(view), bytes, 5 * BUFFER);
	assert_int_equal(comap_writer_copy(writer, view, 0, 0), 0);
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	assert_true(has_content(to, 5 * BUFFER, 3));
	comap_view_close(view);
	free(bytes);
}

static void what_was_allocated_for_more_is_given_back(void **state)
{
	struct comap_writer_opts opts = COMAP_WRITER_OPTS_INIT;
	const char *to = fx_path(fx_folder, "to");
	comap_view *view = view_of(MAPPED, fx_path(fx_folder, "from"), 5 * BUFFER, 3);
	comap_writer *writer;

	(void)state;
	opts.expect = 9 * BUFFER;
	assert_int_equal(comap_writer_open(to, &opts, &writer), 0);
	assert_int_equal(comap_writer_copy(writer, view, 0, 0), 0);
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	assert_true(has_content(to, 5 * BUFFER, 3));
	comap_view_close(view);
}

static void a_room_is_gone_with_the_next_copy(void **state)
{
	comap_view *view = view_of(MAPPED, fx_path(fx_folder, "from"), 100, 3);
	comap_writer *writer = open_writer(fx_path(fx_folder, "to"), 0);
	void *room;

	(void)state;
	assert_int_equal(comap_writer_reserve(writer, 50, &room), 0);
	assert_int_equal(comap_writer_copy(writer, view, 0, 0), 0);
	assert_int_equal(comap_writer_commit(writer, 50), -EINVAL);
	comap_writer_abort(writer);
	comap_view_close(view);
}

static void stores_into_a_private_view_are_copied(void **state)
{
	const char *from = fx_path(fx_folder, "from"), *to = fx_path(fx_folder, "to");
	comap_view *view = view_of(PRIVATE, from, 5 * BUFFER, 3);
	char *mine = content(5 * BUFFER, 4);
	comap_writer *writer = open_writer(to, 0);

	(void)state;
	memcpy(comap_view_writable(view), mine, 5 * BUFFER);
	assert_int_equal(comap_writer_copy(writer, view, 0, 0), 0);
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	assert_true(has_content(to, 5 * BUFFER, 4));
	free(mine);
	comap_view_close(view);
}

static void a_part_that_is_not_there_is_refused_and_the_writer_goes_on(void **state)
{
	const char *from = fx_path(fx_folder, "from"), *to = fx_path(fx_folder, "to");
	comap_view *view = view_of(MAPPED, from, 100, 3);
	comap_writer *writer = open_writer(to, 0);

	(void)state;
	assert_int_equal(comap_writer_copy(writer, view, 101, 0), -ERANGE);
	assert_int_equal(comap_writer_copy(writer, view, 1, 100), -ERANGE);
	assert_int_equal(comap_writer_copy(writer, view, 1, UINT64_MAX), -ERANGE);
	assert_int_equal(comap_writer_copy(writer, view, 100, 0), 0); /* nothing */
	assert_int_equal(comap_writer_copy(writer, view, 0, 100), 0);
	assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), 0);
	assert_true(has_content(to, 100, 3));
	comap_view_close(view);
}

static int cut(void *path)
{
	KIN_CHECK(truncate(path, 2 * BUFFER + 5000) == 0);
	return 0;
}

static void a_view_that_was_cut_is_an_error_and_no_signal(void **state)
{
	const char *from = fx_path(fx_folder, "from"), *to = fx_path(fx_folder, "to");
	comap_writer *writer;
	comap_view *view;

	(void)state;
	make_file(to, 10, 1);
	for (unsigned kind = MAPPED; kind <= MAPPED_WITHOUT_FILE; kind++)
		for (int is_append = 0; is_append < 2; is_append++) {
			view = view_of(kind, from, 9 * BUFFER, 3);
			writer = open_writer(to, is_append ? COMAP_WRITER_APPEND : 0);
			assert_int_equal(kin_run(cut, (void *)(uintptr_t)from), 0);
			assert_int_equal(comap_writer_copy(writer, view, 0, 0), -ENODATA);
			assert_int_equal(comap_writer_write(writer, "x", 1), -ENODATA);
			assert_int_equal(comap_writer_finish(writer, COMAP_WRITER_PLAIN), -ENODATA);
			assert_true(has_content(to, 10, 1));
			comap_view_close(view);
		}
}

static int copy_too_much(void *arg)
{
	struct rlimit limit = { 3 * BUFFER, 3 * BUFFER };
	comap_view *view = arg;
	comap_writer *writer;

	KIN_CHECK(comap_writer_open(fx_path(fx_folder, "to"), NULL, &writer) == 0);
	KIN_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	KIN_CHECK(comap_writer_copy(writer, view, 0, 0) == -ENOSPC);
	KIN_CHECK(comap_writer_finish(writer, COMAP_WRITER_PLAIN) == -ENOSPC);
	return 0;
}

static void past_rlimit_fsize_is_enospc_and_no_signal(void **state)
{
	comap_view *view = view_of(MAPPED, fx_path(fx_folder, "from"), 9 * BUFFER, 3);

	(void)state;
	assert_int_equal(kin_run(copy_too_much, view), 0);
	comap_view_close(view);
}

static void *copy_though_cancelled(void *arg)
{
	comap_view *view = arg;
	comap_writer *writer;
	bool *is_copied = malloc(sizeof *is_copied);

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	writer = open_writer(fx_path(fx_folder, "to"), 0);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	pthread_cancel(pthread_self()); /* at the next cancellation point */
	*is_copied = comap_writer_copy(writer, view, 0, 0) == 0;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	*is_copied = comap_writer_finish(writer, COMAP_WRITER_PLAIN) == 0 && *is_copied;
	return is_copied;
}

static void a_copy_is_no_cancellation_point(void **state)
{
	comap_view *view = view_of(MAPPED, fx_path(fx_folder, "from"), 9 * BUFFER, 3);
	pthread_t thread;
	void *is_copied;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, copy_though_cancelled, view), 0);
	assert_int_equal(pthread_join(thread, &is_copied), 0);
	assert_ptr_not_equal(is_copied, PTHREAD_CANCELED);
	assert_true(*(bool *)is_copied);
	assert_true(has_content(fx_path(fx_folder, "to"), 9 * BUFFER, 3));
	free(is_copied);
	comap_view_close(view);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FX_FOLDER_TEST(every_byte_arrives_whatever_the_view),
		FX_FOLDER_TEST(parts_are_put_behind_what_came_before),
		FX_FOLDER_TEST(a_view_from_the_midst_of_a_file_is_copied_from_there),
		FX_FOLDER_TEST(a_view_of_another_file_system_is_copied),
		FX_FOLDER_TEST(what_was_allocated_for_more_is_given_back),
		FX_FOLDER_TEST(a_room_is_gone_with_the_next_copy),
		FX_FOLDER_TEST(stores_into_a_private_view_are_copied),
		FX_FOLDER_TEST(a_part_that_is_not_there_is_refused_and_the_writer_goes_on),
		FX_FOLDER_TEST(a_view_that_was_cut_is_an_error_and_no_signal),
		FX_FOLDER_TEST(past_rlimit_fsize_is_enospc_and_no_signal),
		FX_FOLDER_TEST(a_copy_is_no_cancellation_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
