/* nvgen EALARGS -- --ports DEV0,DEV1 --queues N --descriptors D --max-frame BYTES --housekeeping-core K [--no-receive] */
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_log.h>

#include "control.h"
#include "nvgen.h"

struct nvgen nv = {.queues = 1, .descriptors = 1024, .max_frame = 1518};

static void die(const char *what)
{
	emit_error(what);
	_exit(EXIT_FAILURE);
}

static unsigned number(const char *text, const char *option, unsigned least, unsigned most)
{
	char *end, what[80];
	unsigned long value = strtoul(text, &end, 10);

	if (*end || end == text || value < least || value > most) {
		snprintf(what, sizeof(what), "%s must be a number from %u to %u", option, least, most);
		die(what);
	}
	return (unsigned)value;
}

static void name_ports(char *list)
{
	char *name, *rest = list;

	while ((name = strsep(&rest, ",")))
		if (*name) {
			if (nv.n_ports == 2)
				die("--ports takes two names at most");
			snprintf(nv.ports[nv.n_ports++].name, sizeof(nv.ports[0].name), "%s", name);
		}
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"ports", required_argument, NULL, 'p'},     {"queues", required_argument, NULL, 'q'},
		{"max-frame", required_argument, NULL, 'm'}, {"housekeeping-core", required_argument, NULL, 'k'},
		{"descriptors", required_argument, NULL, 'd'}, {"no-receive", no_argument, NULL, 'n'}, {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'p':
			name_ports(optarg);
			break;
		case 'q':
			nv.queues = number(optarg, "--queues", 1, NV_MAX_QUEUES);
			break;
		case 'm':
			nv.max_frame = number(optarg, "--max-frame", 64, NV_FRAME_MOST);
			break;
		case 'd':
			nv.descriptors = number(optarg, "--descriptors", 64, 32768);
			break;
		case 'k':
			nv.housekeeping_core = number(optarg, "--housekeeping-core", 0, 1023);
			break;
		case 'n':
			nv.no_receive = true;
			break;
		default:
			die("unknown option");
		}
	if (!nv.n_ports)
		die("--ports is needed");
}

/* stdout carries the protocol only; whatever DPDK and its drivers print goes to stderr. */
static void part_streams(void)
{
	protocol_fd = dup(STDOUT_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	rte_openlog_stream(stderr);
	signal(SIGPIPE, SIG_IGN);
}

static void start_control(pthread_t *control)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	ports_ready_fd = eventfd(0, EFD_CLOEXEC);
	if (signal_fd < 0 || ports_ready_fd < 0 || pthread_create(control, NULL, control_main, NULL))
		die("no control thread");
}

static uint16_t make_signature(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	/* Never zero, which is what padding looks like. */
	return (uint16_t)(((uint64_t)now.tv_nsec ^ (uint64_t)getpid() * 40503u) % 65535 + 1);
}

int main(int argc, char **argv)
{
	pthread_t control;
	const char *fault;
	char what[160];
	int eal_args = 1;

	part_streams();
	while (eal_args < argc && strcmp(argv[eal_args], "--"))
		eal_args++;
	if (eal_args == argc)
		die("usage: nvgen EALARGS -- --ports DEV0,DEV1 --queues N --max-frame BYTES --housekeeping-core K");
	parse_options(argc - eal_args, argv + eal_args);
	start_control(&control);
	argv[eal_args] = NULL;
	optind = 1;
	if (rte_eal_init(eal_args, argv) < 0) {
		snprintf(what, sizeof(what), "DPDK does not start: %s", rte_strerror(rte_errno));
		die(what);
	}
	nv.signature = make_signature();
	if ((fault = ports_up()) || (fault = workers_assign()))
		die(fault);
	if (eventfd_write(ports_ready_fd, 1))
		die("no control thread");
	rte_eal_mp_remote_launch(worker_main, NULL, CALL_MAIN);
	rte_eal_mp_wait_lcore();
	ports_down();
	rte_eal_cleanup();
	_exit(EXIT_SUCCESS);
}
