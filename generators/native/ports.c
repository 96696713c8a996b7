/* The devices: found by name, brought up, described. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_ethdev.h>

#include "nvgen.h"

#define POOL_CACHE 256
#define LINK_WAIT_MS 5000
#define L2_OVERHEAD 18 /* Ethernet header and FCS */

static char fault[160];

static const char *failed(const struct port *port, const char *what, int error)
{
	snprintf(fault, sizeof(fault), "port %s: %s: %s", port->name, what, rte_strerror(error < 0 ? -error : error));
	return fault;
}

static struct rte_mempool *make_pool(const struct port *port, const char *use, unsigned queue, unsigned buffers)
{
	char name[RTE_MEMPOOL_NAMESIZE];
	/* Room for a VLAN tag or two that a device may add, and never less than what drivers take for granted. */
	unsigned room = RTE_MAX(2048u, RTE_ALIGN(nv.max_frame + 64u, 64u)) + RTE_PKTMBUF_HEADROOM;

	snprintf(name, sizeof(name), "%s%u_%u", use, (unsigned)port->id, queue);
	return rte_pktmbuf_pool_create(name, buffers, POOL_CACHE, 0, (uint16_t)room,
				       rte_eth_dev_socket_id(port->id));
}

static const char *make_pools(struct port *port)
{
	unsigned slack = 2 * POOL_CACHE + 4 * NV_BURST;

	port->rx_pool = make_pool(port, "rx", 0, nv.queues * port->n_rxd + rte_lcore_count() * slack);
	if (!port->rx_pool)
		return failed(port, "no memory for receive buffers", rte_errno);
	for (unsigned queue = 0; queue < nv.queues; queue++) {
		port->tx_pool[queue] = make_pool(port, "tx", queue, port->n_txd + slack);
		if (!port->tx_pool[queue])
			return failed(port, "no memory for frames", rte_errno);
	}
	return NULL;
}

static const char *configure_port(struct port *port)
{
	struct rte_eth_conf conf = {0};
	struct rte_eth_dev_info info;
	int error = rte_eth_dev_info_get(port->id, &info);

	if (error)
		return failed(port, "no information", error);
	if (nv.queues > info.max_rx_queues || nv.queues > info.max_tx_queues)
		return failed(port, "it has fewer queues", EINVAL);
	if (nv.max_frame > 1518)
		conf.rxmode.mtu = nv.max_frame - L2_OVERHEAD;
	if (nv.queues > 1 && info.flow_type_rss_offloads) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_hf =
			(RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP) & info.flow_type_rss_offloads;
	}
	conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
	/* A virtio-user device that serves its socket takes a switch's new connection only while its link is watched. */
	conf.intr_conf.lsc = strstr(info.driver_name, "virtio_user") && *info.dev_flags & RTE_ETH_DEV_INTR_LSC;
	nv.by_kernel |= strstr(info.driver_name, "af_packet") != NULL;
	error = rte_eth_dev_configure(port->id, (uint16_t)nv.queues, (uint16_t)nv.queues, &conf);
	if (error)
		return failed(port, "cannot be configured", error);
	port->n_rxd = port->n_txd = (uint16_t)nv.descriptors;
	error = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &port->n_rxd, &port->n_txd);
	return error ? failed(port, "descriptors", error) : NULL;
}

/*
 * virtio frees sent buffers only when free descriptors fall below a threshold, then all at once: with a long ring a
 * pause of its own. Freed early, they go back a burst at a time, and are still in the cache.
 */
static struct rte_eth_txconf sending(const struct port *port)
{
	struct rte_eth_dev_info info;
	struct rte_eth_txconf conf = {0};

	if (rte_eth_dev_info_get(port->id, &info))
		return conf;
	conf = info.default_txconf;
	if (strstr(info.driver_name, "virtio") && port->n_txd > 4 * NV_BURST)
		conf.tx_free_thresh = (uint16_t)(port->n_txd - 2 * NV_BURST);
	return conf;
}

static const char *start_port(struct port *port)
{
	const char *problem;
	struct rte_eth_txconf conf;
	unsigned node;
	int error = 0;

	if (rte_eth_dev_get_port_by_name(port->name, &port->id))
		return failed(port, "there is no such device", ENODEV);
	if ((problem = configure_port(port)) || (problem = make_pools(port)))
		return problem;
	conf = sending(port);
	node = (unsigned)rte_eth_dev_socket_id(port->id);
	for (uint16_t queue = 0; queue < nv.queues && !error; queue++) {
		error = rte_eth_rx_queue_setup(port->id, queue, port->n_rxd, node, NULL, port->rx_pool);
		if (!error)
			error = rte_eth_tx_queue_setup(port->id, queue, port->n_txd, node, &conf);
	}
	if (error)
		return failed(port, "queues", error);
	error = rte_eth_dev_start(port->id);
	if (error)
		return failed(port, "cannot be started", error);
	rte_eth_promiscuous_enable(port->id); /* a device without this mode takes every frame anyway */
	return NULL;
}

static bool link_up(const struct port *port, struct rte_eth_link *link)
{
	memset(link, 0, sizeof(*link));
	return rte_eth_link_get_nowait(port->id, link) == 0 && link->link_status == RTE_ETH_LINK_UP;
}

const char *ports_up(void)
{
	struct rte_eth_link link;
	const char *problem;

	for (unsigned i = 0; i < nv.n_ports; i++)
		if ((problem = start_port(&nv.ports[i])))
			return problem;
	for (unsigned i = 0, waited_ms = 0; i < nv.n_ports; i++)
		for (; !link_up(&nv.ports[i], &link) && waited_ms < LINK_WAIT_MS; waited_ms += 10)
			usleep(10000);
	return NULL;
}

void ports_down(void)
{
	for (unsigned i = 0; i < nv.n_ports; i++) {
		rte_eth_dev_stop(nv.ports[i].id);
		rte_eth_dev_close(nv.ports[i].id);
	}
}

json_t *ports_describe(void)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < nv.n_ports; i++) {
		const struct port *port = &nv.ports[i];
		struct rte_eth_dev_info info = {0};
		struct rte_ether_addr mac = {0};
		struct rte_eth_link link;
		char text[RTE_ETHER_ADDR_FMT_SIZE];
		bool up = link_up(port, &link);

		rte_eth_dev_info_get(port->id, &info);
		rte_eth_macaddr_get(port->id, &mac);
		rte_ether_format_addr(text, sizeof(text), &mac);
		json_array_append_new(
			list, json_pack("{s:s,s:s,s:s,s:i,s:b,s:I}", "name", port->name, "driver",
					info.driver_name ? info.driver_name : "", "mac", text, "numa",
					rte_eth_dev_socket_id(port->id), "link_up", (int)up, "link_mbps",
					(json_int_t)(link.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN
							     ? 0 : link.link_speed)));
	}
	return list;
}
