/* The control side: JSON lines in, JSON lines out, and the trial's clock. */
#define _GNU_SOURCE /* ppoll, CPU sets */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <rte_version.h>

#include "control.h"
#include "nvgen.h"

#define LINE_MOST (4u << 20)
#define IDLE_REFINE_MS 1000
#define LEAVE_S 2

int protocol_fd = -1, signal_fd = -1, ports_ready_fd = -1;

static char *line;
static size_t line_used, line_room;

void emit(json_t *event)
{
	char *text = json_dumps(event, JSON_COMPACT);
	size_t left = text ? strlen(text) : 0;
	char *at = text;

	json_decref(event);
	if (!text)
		return;
	at[left++] = '\n'; /* in place of the terminator: the text is only written */
	while (left) {
		ssize_t n = write(protocol_fd, at, left);

		if (n < 0 && errno != EINTR)
			break; /* nobody reads any more: the end of stdin follows */
		if (n > 0) {
			at += n;
			left -= (size_t)n;
		}
	}
	free(text);
}

void emit_error(const char *what)
{
	emit(json_pack("{s:s,s:s}", "event", "error", "what", what));
}

static void answer(const char *fault, const char *event)
{
	if (fault)
		emit_error(fault);
	else if (event)
		emit(json_pack("{s:s}", "event", event));
}

/* Workers leave at once; should a driver then hang while it closes its device, the process goes all the same. */
static void leave(void)
{
	__atomic_store_n(&nv.phase, PHASE_QUIT, __ATOMIC_RELEASE);
	sleep(LEAVE_S);
	_exit(0);
}

static void obey(json_t *command)
{
	const char *name = json_string_value(json_object_get(command, "cmd"));

	if (!name)
		emit_error("a command is an object with cmd");
	else if (!strcmp(name, "quit"))
		leave();
	else if (!strcmp(name, "stop"))
		trial_running() ? trial_stop() : emit_error("no trial is running");
	else if (trial_running())
		emit_error("a trial is running");
	else if (!strcmp(name, "configure"))
		answer(template_load(json_object_get(command, "streams")), "configured");
	else if (!strcmp(name, "learn"))
		answer(learn_send(command), "learned");
	else if (!strcmp(name, "start"))
		answer(trial_start(command), NULL);
	else
		emit_error("unknown command");
}

static void obey_line(char *text, size_t bytes)
{
	json_error_t error;
	json_t *command = json_loadb(text, bytes, 0, &error);

	if (!command) {
		emit_error(error.text);
		return;
	}
	obey(command);
	json_decref(command);
}

/* Whatever has come in; the end of it is the end of this program. */
static void read_commands(void)
{
	char *end, *start = line;
	ssize_t n;

	if (line_used == line_room) {
		line_room = line_room ? 2 * line_room : 65536;
		line = start = line_room <= LINE_MOST ? realloc(line, line_room) : NULL;
		if (!line)
			leave();
	}
	n = read(STDIN_FILENO, line + line_used, line_room - line_used);
	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0)
		leave();
	line_used += (size_t)n;
	while ((end = memchr(start, '\n', line_used - (size_t)(start - line)))) {
		if (end > start)
			obey_line(start, (size_t)(end - start));
		start = end + 1;
	}
	line_used -= (size_t)(start - line);
	memmove(line, start, line_used);
}

static void pin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(nv.housekeeping_core, &set);
	pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

/* EAL may block for long, waiting for a switch to connect: leave even then when asked to. */
static void await_ports(void)
{
	struct pollfd fds[3] = {{STDIN_FILENO, 0, 0}, {signal_fd, POLLIN, 0}, {ports_ready_fd, POLLIN, 0}};

	for (;;) {
		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[0].revents || fds[1].revents)
			_exit(0);
		if (fds[2].revents)
			return;
	}
}

void *control_main(void *unused)
{
	struct pollfd fds[2] = {{STDIN_FILENO, POLLIN, 0}, {signal_fd, POLLIN, 0}};

	RTE_SET_USED(unused);
	pin();
	await_ports();
	clock_calibrate();
	emit(json_pack("{s:s,s:s,s:f,s:f,s:o}", "event", "ready", "version", rte_version(), "tsc_hz", clock_hz(),
		       "dpdk_hz", (double)rte_get_tsc_hz(), "ports", ports_describe()));
	for (;;) {
		uint64_t wait = trial_running() ? trial_wait_ns() : IDLE_REFINE_MS * 1000000ULL;
		struct timespec timeout = {(time_t)(wait / 1000000000), (long)(wait % 1000000000)};
		int n = ppoll(fds, 2, &timeout, NULL);

		if (n > 0 && fds[1].revents)
			leave();
		if (n > 0 && fds[0].revents)
			read_commands();
		if (trial_running())
			trial_tick();
		else
			clock_refine();
	}
	return NULL;
}
