/*
 * pass_fd.c - two strangers share a heap over a UNIX socket.
 *
 * What it shows
 *
 *	A heap without a name can still be given to anybody: it is a memfd, and a
 *	file descriptor travels over a UNIX socket.  The host makes a heap, puts a
 *	linked list in it, and sends two things: the descriptor, and the ref of the
 *	list.  The guest, a program started by exec that inherits nothing but the
 *	socket, attaches, finds the list, changes the words in place, adds blocks
 *	of its own, and exits.  The host then reads the guest's changes, and frees
 *	what the guest allocated.
 *
 *	The two map the heap at different addresses.  That is why a ref is an
 *	offset: the number sent over the socket, and each `next` in the list, means
 *	the same node in both.  To be sure of the difference the guest first
 *	occupies the address of the host's mapping.
 *
 * How to run it
 *
 *	pass_fd
 *
 *	It runs its own guest.  ("pass_fd --guest FD" is how it does that.)
 *
 * What it prints
 *
 *	Both base addresses and the list before and after.  The exit status is 0
 *	when everything was as expected, 77 where the heap is no memfd.
 */
#include <comap/heap.h>
#include <ctype.h>
#include <err.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct node;
typedef COMAP_REF(struct node) node_ref;
struct node {
	node_ref next;
	uint32_t added_by; /* HOST or GUEST */
	char word[20];
};

enum { HOST = 1, GUEST = 2 };

/* What goes over the socket, beside the descriptor: numbers, all of them. */
struct letter {
	comap_ref list; /* of a node */
	uint64_t base;  /* where the sender has mapped the heap: to be looked at, never used */
};

static const char *const words[] = { "memory", "several", "processes", "own", "together" };
enum { NWORDS = sizeof words / sizeof words[0] };

static void check_that(bool holds, const char *what)
{
	if (!holds)
		errx(1, "%s", what);
}

/* An address is the base plus the ref. */
static uint64_t base_of(const comap_heap *heap, const struct node *node)
{
	return (uint64_t)(uintptr_t)node - comap_heap_ref(heap, node).off;
}

static struct node *make_node(comap_heap *heap, const char *word, uint32_t added_by, node_ref next)
{
	struct node *node = comap_heap_malloc(heap, sizeof *node);

	if (!node)
		err(1, "malloc");
	node->next = next;
	node->added_by = added_by;
	snprintf(node->word, sizeof node->word, "%s", word);
	return node;
}

static void print_list(const char *who, const comap_heap *heap, const struct node *node)
{
	printf("%s at %#" PRIx64 " sees:", who, base_of(heap, node));
	for (; node; node = comap_at(heap, node->next))
		printf(" %s", node->word);
	printf("\n");
	fflush(stdout);
}

/* ---- a descriptor through a socket --------------------------------------- */

union fd_message {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static void send_letter(int socket, const struct letter *letter, int fd)
{
	union fd_message control = { 0 };
	struct iovec body = { .iov_base = (struct letter[]){ *letter }, .iov_len = sizeof *letter };
	struct msghdr message = { .msg_iov = &body, .msg_iovlen = 1 };

	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof fd);
		memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	}
	if (sendmsg(socket, &message, MSG_NOSIGNAL) != sizeof *letter)
		err(1, "send");
}

/* Returns the descriptor that came along, or -1. */
static int receive_letter(int socket, struct letter *ret_letter)
{
	union fd_message control = { 0 };
	struct iovec body = { .iov_base = ret_letter, .iov_len = sizeof *ret_letter };
	struct msghdr message = { .msg_iov = &body,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof control };
	int fd = -1;

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != sizeof *ret_letter)
		errx(1, "the other side is gone");
	if (message.msg_controllen >= CMSG_LEN(sizeof fd) &&
	    control.header.cmsg_level == SOL_SOCKET && control.header.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	return fd;
}

/* ---- the guest ----------------------------------------------------------- */

/* Make sure that nothing of ours will be mapped where the host has its heap. */
static void occupy(uint64_t address)
{
	void *place = (void *)(uintptr_t)address; /* only a hint: whatever is there stays */

	if (mmap(place, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		err(1, "mmap");
}

static void verify_as_sent(const comap_heap *heap, const struct node *node)
{
	for (size_t i = 0; i < NWORDS; i++, node = comap_at(heap, node->next)) {
		check_that(node != NULL, "guest: the list is too short");
		check_that(node->added_by == HOST, "guest: a node that is not the host's");
		check_that(!strcmp(node->word, words[i]), "guest: another word");
	}
	check_that(!node, "guest: the list is too long");
}

/* Each word in upper case, in place, and after each a new node. */
static void answer(comap_heap *heap, struct node *node)
{
	while (node) {
		struct node *added = make_node(heap, "!", GUEST, node->next);

		for (char *c = node->word; *c; c++)
			*c = (char)toupper((unsigned char)*c);
		comap_set(heap, node->next, added);
		node = comap_at(heap, added->next);
	}
}

static int run_guest(int socket)
{
	struct letter letter;
	struct node *list;
	comap_heap *heap;
	int e, fd = receive_letter(socket, &letter);

	occupy(letter.base);
	e = comap_heap_open_fd(fd, NULL, &heap);
	if (e)
		errx(1, "guest: %s %s", strerror(-e), comap_heap_open_reason());
	close(fd); /* the heap has its own */

	/* The ref comes from outside: look before following it. */
	list = comap_heap_at_checked(heap, letter.list, sizeof *list);
	check_that(list != NULL, "guest: the ref leads nowhere");
	check_that(base_of(heap, list) != letter.base, "guest: the same base as the host");

	verify_as_sent(heap, list);
	print_list("guest", heap, list);
	answer(heap, list);
	print_list("guest", heap, list);

	letter.base = base_of(heap, list);
	comap_heap_close(heap);
	send_letter(socket, &letter, -1);
	return 0;
}

/* ---- the host ------------------------------------------------------------ */

static pid_t start_guest(int socket)
{
	pid_t pid = fork();
	char number[16];

	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		/* Everything but this one descriptor is closed by exec. */
		socket = dup(socket);
		snprintf(number, sizeof number, "%d", socket);
		execl("/proc/self/exe", "pass_fd", "--guest", number, (char *)NULL);
		warn("exec");
		_exit(127);
	}
	return pid;
}

static struct node *make_list(comap_heap *heap)
{
	node_ref next = { .ref = COMAP_NULL };

	for (size_t i = NWORDS; i-- > 0;)
		comap_set(heap, next, make_node(heap, words[i], HOST, next));
	return comap_at(heap, next);
}

static void verify_answer(const comap_heap *heap, const struct node *node)
{
	for (size_t i = 0; i < 2 * NWORDS; i++, node = comap_at(heap, node->next)) {
		const char *expected = i % 2 ? "!" : words[i / 2];

		check_that(node != NULL, "host: the list is too short");
		check_that(node->added_by == (i % 2 ? GUEST : HOST), "host: by somebody else");
		check_that(!strcasecmp(node->word, expected), "host: another word");
		check_that(!islower((unsigned char)node->word[0]), "host: a word was not changed");
	}
	check_that(!node, "host: the list is too long");
}

/* The guest's nodes too: a block may be freed by anybody, whoever allocated it. */
static void free_list(comap_heap *heap, struct node *node)
{
	while (node) {
		struct node *next = comap_at(heap, node->next);

		comap_heap_free(heap, node);
		node = next;
	}
}

static uint64_t count_live_blocks(comap_heap *heap)
{
	struct comap_heap_stats stats = COMAP_HEAP_STATS_INIT;

	check_that(comap_heap_get_stats(heap, &stats) == 0, "no stats");
	return stats.live_blocks;
}

static int run_host(void)
{
	struct letter letter, reply;
	uint64_t live_before;
	int socket[2], e, status;
	comap_heap *heap;
	struct node *list;
	pid_t guest;

	e = comap_heap_open_anon(NULL, &heap);
	if (e)
		errx(1, "heap: %s %s", strerror(-e), comap_heap_open_reason());
	if (comap_heap_fd(heap) < 0)
		errx(77, "this system has no memfd");
	live_before = count_live_blocks(heap);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socket) < 0)
		err(1, "socketpair");

	list = make_list(heap);
	print_list("host", heap, list);
	guest = start_guest(socket[1]);
	close(socket[1]);

	letter.list = comap_heap_ref(heap, list);
	letter.base = base_of(heap, list);
	send_letter(socket[0], &letter, comap_heap_fd(heap));
	receive_letter(socket[0], &reply);
	check_that(waitpid(guest, &status, 0) == guest && status == 0, "host: the guest failed");
	close(socket[0]);

	verify_answer(heap, list);
	print_list("host", heap, list);
	check_that(reply.base != letter.base, "host: the same base as the guest");
	free_list(heap, list);
	check_that(count_live_blocks(heap) == live_before, "host: blocks are left");
	check_that(comap_heap_check(heap, NULL, NULL) == 0, "host: the heap is damaged");
	comap_heap_close(heap);

	printf("proved: one heap, mapped at %#" PRIx64 " and at %#" PRIx64 ", and the same list\n",
	       letter.base, reply.base);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 1)
		return run_host();
	if (argc == 3 && !strcmp(argv[1], "--guest"))
		return run_guest(atoi(argv[2]));
	fprintf(stderr, "usage: pass_fd\n");
	return 2;
}
