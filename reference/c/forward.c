// Forwards between two devices that other processes serve:
//
//   barewire nic serve /tmp/a.sock …   (twice)
//   ixgbe-forward /tmp/a.sock /tmp/b.sock [SECONDS]
#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ixgbe.h"
#include "vfio_user.h"

#define BATCH 32
#define RING 512
#define POOL 2048
// The last byte of the destination address is incremented, so that every packet is touched.
#define TOUCHED 5
#define LINK_MILLIS 5000

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static double seconds_since(const struct timespec *begin)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - begin->tv_sec) + (double)(now.tv_nsec - begin->tv_nsec) / 1e9;
}

// Packets that were received and not sent yet: the ring of the other port was full.
struct lane {
	struct ixgbe *from;
	struct ixgbe *to;
	struct pkt_buf *bufs[BATCH];
	uint32_t first;
	uint32_t end;
};

static void forward(struct lane *lane)
{
	if (lane->first == lane->end) {
		lane->first = 0;
		lane->end = ixgbe_rx_batch(lane->from, 0, lane->bufs, BATCH);
		for (uint32_t i = 0; i < lane->end; i++)
			lane->bufs[i]->data[TOUCHED]++;
	}
	lane->first += ixgbe_tx_batch(lane->to, 0, lane->bufs + lane->first, lane->end - lane->first);
}

static void drop(struct lane *lane)
{
	while (lane->first < lane->end)
		pkt_buf_free(lane->bufs[lane->first++]);
}

struct port {
	struct device *device;
	struct mempool *pool;
	struct ixgbe ixgbe;
	int open;
};

// Connects to a device; its packets will be seen by both devices.
static int connect_port(struct port *port, const char *path)
{
	port->device = vfio_user_connect(path);
	if (port->device == NULL)
		return -1;
	port->pool = mempool_create(POOL);
	if (port->pool == NULL) {
		perror("packet buffers");
		return -1;
	}
	return 0;
}

static int start(struct port *port, struct port *other)
{
	struct ixgbe_config config = {.rx_queues = 1, .tx_queues = 1, .ring = RING, .pool = port->pool};
	if (port->device->ops->map(port->device, &port->pool->memory) < 0 ||
	    port->device->ops->map(port->device, &other->pool->memory) < 0 ||
	    ixgbe_open(&port->ixgbe, port->device, &config) < 0)
		return -1;
	port->open = 1;
	return ixgbe_wait_for_link(&port->ixgbe, LINK_MILLIS) ? 0 : -1;
}

static void run(struct port ports[2], double limit)
{
	struct lane lanes[2] = {
		{.from = &ports[0].ixgbe, .to = &ports[1].ixgbe},
		{.from = &ports[1].ixgbe, .to = &ports[0].ixgbe},
	};
	struct timespec begin;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (uint32_t turn = 0; !stopped; turn++) {
		forward(&lanes[0]);
		forward(&lanes[1]);
		if (turn % 4096 == 0 && limit > 0 && seconds_since(&begin) >= limit)
			break;
	}
	double seconds = seconds_since(&begin);
	drop(&lanes[0]);
	drop(&lanes[1]);
	uint64_t sent = 0;
	for (int i = 0; i < 2; i++) {
		struct ixgbe_stats stats = ixgbe_read_stats(&ports[i].ixgbe);
		sent += stats.tx_packets;
		printf("%s: %" PRIu64 " received, %" PRIu64 " sent, %" PRIu64 " errors\n",
		       ports[i].device->name, stats.rx_packets, stats.tx_packets, stats.rx_errors);
	}
	printf("%.2f Mpps\n", (double)sent / seconds / 1e6);
}

int main(int argc, char **argv)
{
	struct port ports[2] = {0};
	int failed = 1;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: %s SOCKET SOCKET [SECONDS]\n", argv[0]);
		return 2;
	}
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	if (connect_port(&ports[0], argv[1]) == 0 && connect_port(&ports[1], argv[2]) == 0 &&
	    start(&ports[0], &ports[1]) == 0 && start(&ports[1], &ports[0]) == 0) {
		run(ports, argc == 4 ? strtod(argv[3], NULL) : 0);
		failed = 0;
	}
	for (int i = 0; i < 2; i++) {
		if (ports[i].open)
			ixgbe_close(&ports[i].ixgbe);
	}
	for (int i = 0; i < 2; i++) {
		if (ports[i].device != NULL) // with it goes the device's view of all memory
			vfio_user_disconnect(ports[i].device);
	}
	for (int i = 0; i < 2; i++)
		mempool_destroy(ports[i].pool);
	return failed;
}
