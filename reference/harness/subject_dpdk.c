// DPDK's driver as a subject, with DPDK's library as it is.
//
// DPDK finds its devices in sysfs and maps their registers from there, and where sysfs is can be
// told in the environment. So it finds one device, in a directory made for it, whose registers are
// the fake device's memory. Two things have no stand-in there and are wrapped when the program is
// linked: the interrupt's file, and DPDK's belief that a device behind UIO needs physical addresses.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "harness.h"

#define ADDRESS "0000:01:00.0"
// The vector path takes at most so many at once.
#define VECTOR_BURST 32
#define MAX_BATCH 2048
#define MEGABYTES 64
#define MEGABYTES_TEXT "64"

static struct fake_nic *fake;
static uint32_t burst = MAX_BATCH;
static int on_hugepages;

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

// The device's interrupt never comes: one end of a pair on which nothing is sent.
int __wrap_open64(const char *path, int flags, ...)
{
	va_list arguments;
	va_start(arguments, flags);
	mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	if (strncmp(path, "/dev/uio", 8) == 0) {
		int pair[2];
		return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ? -1 : pair[0];
	}
	if (strncmp(path, "/sys/class/uio/", 15) == 0)
		path = "/dev/null";
	return __real_open64(path, flags, mode);
}

enum rte_iova_mode __wrap_pci_device_iova_mode(const void *driver, const void *device);

// The fake device shares this process's addresses.
enum rte_iova_mode __wrap_pci_device_iova_mode(const void *driver, const void *device)
{
	(void)driver;
	(void)device;
	return RTE_IOVA_VA;
}

int __wrap_rte_eal_using_phys_addrs(void);

int __wrap_rte_eal_using_phys_addrs(void)
{
	return 1;
}

static int write_file(const char *directory, const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	if (file == NULL)
		return -1;
	fputs(text, file);
	return fclose(file);
}

// One device in a directory like /sys/bus/pci/devices.
static int make_sysfs(const struct fake_nic *nic, char *root)
{
	char device[128], path[256], target[64], resource[512];

	if (mkdtemp(root) == NULL)
		return -1;
	snprintf(device, sizeof(device), "%s/" ADDRESS, root);
	snprintf(path, sizeof(path), "%s/uio", device);
	if (mkdir(device, 0700) < 0 || mkdir(path, 0700) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/uio/uio0", device);
	if (mkdir(path, 0700) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/driver", device);
	if (symlink("drivers/igb_uio", path) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/resource0", device);
	snprintf(target, sizeof(target), "/proc/self/fd/%d", nic->bar_fd);
	if (symlink(target, path) < 0)
		return -1;
	int length = snprintf(resource, sizeof(resource), "0x0000000100000000 0x%016zx 0x0000000000140204\n",
			      ((size_t)1 << 32) + NIC_BAR_SIZE - 1);
	for (int i = 1; i < 6; i++)
		length += snprintf(resource + length, sizeof(resource) - (size_t)length, "0x0 0x0 0x0\n");
	// 0x10f7: an 82599 on a backplane, which has no module to be asked what it is
	if (write_file(device, "resource", resource) < 0 || write_file(device, "vendor", "0x8086\n") < 0 ||
	    write_file(device, "device", "0x10f7\n") < 0 || write_file(device, "subsystem_vendor", "0x8086\n") < 0 ||
	    write_file(device, "subsystem_device", "0x000c\n") < 0 || write_file(device, "class", "0x020000\n") < 0 ||
	    write_file(device, "max_vfs", "0\n") < 0 || write_file(device, "numa_node", "0\n") < 0)
		return -1;
	return setenv("SYSFS_PCI_DEVICES", root, 1);
}

static void remove_sysfs(const char *root)
{
	static const char *const names[] = {"uio/uio0", "uio", "driver", "resource0", "resource", "vendor", "device",
					    "subsystem_vendor", "subsystem_device", "class", "max_vfs", "numa_node", "."};
	char path[256];
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/" ADDRESS "/%s", root, names[i]);
		if (strcmp(names[i], ".") == 0)
			snprintf(path, sizeof(path), "%s/" ADDRESS, root);
		remove(path);
	}
	rmdir(root);
}

void __wrap_rte_delay_us_sleep(unsigned int micros);

// DPDK's driver looks at a register, pauses or sleeps, looks again. Each time is the device's turn.
void __wrap_rte_delay_us_sleep(unsigned int micros)
{
	(void)micros;
	fake_nic_answer(fake);
}

static int free_hugepages(void)
{
	int count = 0;
	FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "r");
	if (file != NULL) {
		if (fscanf(file, "%d", &count) != 1)
			count = 0;
		fclose(file);
	}
	return count;
}

static int start_eal(const char *mode)
{
	char core[16];
	snprintf(core, sizeof(core), "%d", sched_getcpu());
	on_hugepages = free_hugepages() >= MEGABYTES / 2;
	// the program has one device: files for other processes are of no use to it
	char *arguments[] = {
		"dpdk", "-l", core, "-m", MEGABYTES_TEXT, on_hugepages ? "--in-memory" : "--no-huge", "--no-shconf",
		"--iova-mode=va", "--no-telemetry", "--log-level=lib.eal:error",
		strcmp(mode, "dpdk-vector") == 0 ? "--force-max-simd-bitwidth=256" : "--force-max-simd-bitwidth=64", NULL};
	int count = 0;
	while (arguments[count] != NULL)
		count++;
	return rte_eal_init(count, arguments);
}

// DPDK's own functions, to see which of them it chose.
uint16_t ixgbe_recv_pkts(void *queue, struct rte_mbuf **bufs, uint16_t count);
uint16_t ixgbe_recv_pkts_vec(void *queue, struct rte_mbuf **bufs, uint16_t count);
uint16_t ixgbe_xmit_pkts(void *queue, struct rte_mbuf **bufs, uint16_t count);
uint16_t ixgbe_xmit_pkts_simple(void *queue, struct rte_mbuf **bufs, uint16_t count);

static int check_path(const char *mode)
{
	eth_rx_burst_t rx = rte_eth_fp_ops[0].rx_pkt_burst;
	eth_tx_burst_t tx = rte_eth_fp_ops[0].tx_pkt_burst;
	const char *chosen = "mixed";

	if (rx == ixgbe_recv_pkts_vec && tx != ixgbe_xmit_pkts && tx != ixgbe_xmit_pkts_simple)
		chosen = "dpdk-vector";
	else if (rx == ixgbe_recv_pkts && tx == ixgbe_xmit_pkts)
		chosen = "dpdk-full";
	else if (rx != ixgbe_recv_pkts && rx != ixgbe_recv_pkts_vec && tx == ixgbe_xmit_pkts_simple)
		chosen = "dpdk-simple";
	if (strcmp(mode, chosen) == 0)
		return 0;
	fprintf(stderr, "%s: DPDK chose the path %s\n", mode, chosen);
	return -1;
}

static int start_port(const char *mode, uint32_t ring)
{
	int full = strcmp(mode, "dpdk-full") == 0;
	struct rte_eth_conf config = {0};
	struct rte_eth_dev_info info;

	if (rte_eth_dev_count_avail() != 1 || rte_eth_dev_info_get(0, &info) < 0)
		return -1;
	// an offload that is asked for and a threshold that is no part of the ring rule out the shorter paths
	if (full)
		config.txmode.offloads = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
	if (rte_eth_dev_configure(0, 1, 1, &config) < 0)
		return -1;
	struct rte_mempool *pool = rte_pktmbuf_pool_create("pool", 4095 + 2 * ring, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	if (pool == NULL)
		return -1;
	struct rte_eth_rxconf rx = info.default_rxconf;
	if (full)
		rx.rx_free_thresh = 24;
	if (rte_eth_rx_queue_setup(0, 0, (uint16_t)ring, 0, &rx, pool) < 0 ||
	    rte_eth_tx_queue_setup(0, 0, (uint16_t)ring, 0, NULL) < 0 || rte_eth_dev_start(0) < 0)
		return -1;
	return check_path(mode);
}

int subject_open(struct fake_nic *nic, const char *mode, uint32_t ring)
{
	char root[] = "/tmp/barewire-dpdk-XXXXXX";

	fake = nic;
	if (strcmp(mode, "dpdk-vector") == 0)
		burst = VECTOR_BURST;
	if (make_sysfs(nic, root) < 0) {
		perror(root);
		return -1;
	}
	rte_delay_us_callback_register(__wrap_rte_delay_us_sleep);
	int result = start_eal(mode);
	remove_sysfs(root);
	if (result < 0)
		fprintf(stderr, "DPDK does not start: %s\n", rte_strerror(rte_errno));
	else if ((result = start_port(mode, ring)) < 0)
		fprintf(stderr, "DPDK's port does not start: %s\n", rte_strerror(rte_errno));
	return result < 0 ? -1 : 0;
}

uint32_t subject_forward(uint32_t batch)
{
	struct rte_mbuf *bufs[MAX_BATCH];
	uint16_t received = 0, wanted, got;

	do {
		wanted = (uint16_t)(batch - received < burst ? batch - received : burst);
		got = rte_eth_rx_burst(0, 0, bufs + received, wanted);
		received = (uint16_t)(received + got);
	} while (got == wanted && received < batch);
	if (received == 0)
		return 0;
	for (uint16_t i = 0; i < received; i++)
		rte_pktmbuf_mtod(bufs[i], uint8_t *)[NIC_TOUCHED]++;
	uint16_t sent = rte_eth_tx_burst(0, 0, bufs, received);
	for (uint16_t i = sent; i < received; i++)
		rte_pktmbuf_free(bufs[i]);
	return sent;
}

int subject_on_hugepages(void)
{
	return on_hugepages;
}
