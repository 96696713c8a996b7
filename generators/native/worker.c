/* The polling workers: who serves which queue, and the loop. */
#include <string.h>
#include <time.h>

#include <rte_malloc.h>

#include "nvgen.h"

#define IDLE_SLEEP_US 50

/* Ports on their own workers where there are two, so that one sends and the other receives; with more, a worker
 * for each of: send and receive of each port, queue by queue. */
static unsigned worker_of(unsigned port, unsigned queue, bool send)
{
	if (nv.n_workers <= 2)
		return port % nv.n_workers;
	return (queue * 4 + port * 2 + (send ? 0 : 1)) % nv.n_workers;
}

static void assign_queue(unsigned port, unsigned queue)
{
	struct worker *sender = &nv.workers[worker_of(port, queue, true)];
	struct worker *receiver = &nv.workers[worker_of(port, queue, false)];

	/* Direction 0 leaves by the first port, unless configured otherwise: then only locality suffers. */
	sender->tx[sender->n_tx++] = &nv.streams[port * nv.queues + queue];
	if (!nv.no_receive && port < nv.n_ports)
		receiver->rx[receiver->n_rx++] =
			(struct rx_queue){nv.ports[port].id, (uint16_t)queue, nv.ports[port].rx_pool};
}

static const char *make_room(struct worker *w)
{
	int node = (int)rte_lcore_to_socket_id(w->lcore);

	for (unsigned i = 0; i < N_HDR; i++)
		if (!(w->hdr[i] = rte_zmalloc_socket("hdr", NV_HDR_BINS * 8, RTE_CACHE_LINE_SIZE, node)))
			return "no memory for a worker";
	for (unsigned i = 0; i < N_COLUMNS; i++)
		if (!(w->timeline[i] = rte_zmalloc_socket("timeline", NV_INTERVALS * 8, RTE_CACHE_LINE_SIZE, node)))
			return "no memory for a worker";
	w->seen = rte_zmalloc_socket("seen", 2 * nv.queues * sizeof(*w->seen), RTE_CACHE_LINE_SIZE, node);
	if (!w->seen)
		return "no memory for a worker";
	for (unsigned s = 0; s < 2 * nv.queues; s++) {
		w->seen[s].window = rte_zmalloc_socket("window", NV_WINDOW / 8, RTE_CACHE_LINE_SIZE, node);
		if (!w->seen[s].window)
			return "no memory for a worker";
	}
	return NULL;
}

/* Returns what is wrong, or NULL. */
const char *workers_assign(void)
{
	const char *fault = NULL;
	unsigned lcore, i = 0;

	nv.n_workers = rte_lcore_count();
	nv.workers = rte_zmalloc("workers", nv.n_workers * sizeof(*nv.workers), RTE_CACHE_LINE_SIZE);
	if (!nv.workers)
		return "no memory for workers";
	RTE_LCORE_FOREACH(lcore)
		nv.workers[i++].lcore = lcore;
	for (unsigned queue = 0; queue < nv.queues; queue++)
		for (unsigned port = 0; port < 2; port++)
			assign_queue(port, queue);
	for (i = 0; i < nv.n_workers && !fault; i++)
		fault = make_room(&nv.workers[i]);
	return fault;
}

static void forget(struct worker *w)
{
	for (unsigned i = 0; i < N_HDR; i++)
		memset(w->hdr[i], 0, NV_HDR_BINS * 8);
	for (unsigned i = 0; i < N_COLUMNS; i++)
		memset(w->timeline[i], 0, NV_INTERVALS * 8);
	for (unsigned s = 0; s < 2 * nv.queues; s++) {
		uint64_t *window = w->seen[s].window;

		memset(window, 0, NV_WINDOW / 8);
		w->seen[s] = (struct seen){.window = window};
	}
	memset(w->foreign, 0, sizeof(w->foreign));
	memset(w->stale, 0, sizeof(w->stale));
	w->pause_longest = w->pause_total = w->pause_count = 0;
}

static uint64_t thread_ns(void)
{
	struct timespec ran;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ran);
	return (uint64_t)ran.tv_sec * 1000000000 + (uint64_t)ran.tv_nsec;
}

/* The part of a gap in which the thread did not run: work that the kernel does on its behalf is no absence. */
static uint64_t absent(struct worker *w, uint64_t now, uint64_t gap)
{
	uint64_t ran_ns = thread_ns(), passed = now - w->looked, ran;

	ran = (uint64_t)((double)(ran_ns - w->ran_ns) * clock_hz() * 1e-9);
	w->looked = now;
	w->ran_ns = ran_ns;
	return RTE_MIN(gap, passed > ran ? passed - ran : 0);
}

static inline void note_gap(struct worker *w, uint64_t now)
{
	uint64_t gap = now - w->last;

	w->last = now;
	if (unlikely(gap > nv.pause_ticks) && nv.by_kernel)
		gap = absent(w, now, gap);
	if (unlikely(gap > nv.pause_ticks)) {
		w->pause_count++;
		w->pause_total += gap;
		w->pause_longest = RTE_MAX(w->pause_longest, gap);
	}
}

static void run(struct worker *w)
{
	w->looked = w->last = rte_rdtsc();
	w->ran_ns = thread_ns();
	while (__atomic_load_n(&nv.phase, __ATOMIC_ACQUIRE) == PHASE_RUN) {
		uint64_t now = rte_rdtsc();

		note_gap(w, now);
		for (unsigned i = 0; i < w->n_tx; i++) {
			if (w->tx[i]->done)
				continue;
			if (i) {
				now = rte_rdtsc();
				note_gap(w, now);
			}
			send_step(w, w->tx[i], now);
		}
		for (unsigned i = 0; i < w->n_rx; i++)
			receive_step(w, &w->rx[i]);
	}
	for (unsigned i = 0; i < w->n_tx; i++)
		if (!w->tx[i]->done)
			send_close(w->tx[i], rte_rdtsc());
}

int worker_main(void *unused)
{
	struct worker *w = &nv.workers[rte_lcore_index(-1)];

	RTE_SET_USED(unused);
	for (;;) {
		enum phase phase = __atomic_load_n(&nv.phase, __ATOMIC_ACQUIRE);

		if (phase == PHASE_QUIT)
			return 0;
		if (phase == PHASE_RUN) {
			__atomic_store_n(&w->phase, phase, __ATOMIC_RELEASE);
			run(w);
			continue;
		}
		for (unsigned i = 0; i < w->n_rx; i++)
			receive_discard(&w->rx[i]);
		if (phase == PHASE_ARM && w->phase != PHASE_ARM)
			forget(w);
		__atomic_store_n(&w->phase, phase, __ATOMIC_RELEASE);
		if (phase == PHASE_IDLE)
			rte_delay_us_sleep(IDLE_SLEEP_US);
		else
			rte_delay_us_sleep(1); /* the control side may want this very core */
	}
}

/* Called by the control side: until every worker has taken notice. */
void workers_reach(enum phase phase)
{
	const struct timespec moment = {.tv_nsec = 20000};

	__atomic_store_n(&nv.phase, phase, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < nv.n_workers; i++)
		while (__atomic_load_n(&nv.workers[i].phase, __ATOMIC_ACQUIRE) != phase)
			nanosleep(&moment, NULL);
}
