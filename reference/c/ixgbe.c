// From whatever state the device is in to running queues, and back. The order is that of the
// 82599 datasheet, section 4.6.3.
#define _GNU_SOURCE
#include "ixgbe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "queues.h"
#include "registers.h"

static uint32_t get_reg32(struct ixgbe *ixgbe, uint32_t offset)
{
	return ixgbe->device->ops->read32(ixgbe->device, offset);
}

static void set_reg32(struct ixgbe *ixgbe, uint32_t offset, uint32_t value)
{
	ixgbe->device->ops->write32(ixgbe->device, offset, value);
}

static void set_flags32(struct ixgbe *ixgbe, uint32_t offset, uint32_t flags)
{
	set_reg32(ixgbe, offset, get_reg32(ixgbe, offset) | flags);
}

static void clear_flags32(struct ixgbe *ixgbe, uint32_t offset, uint32_t flags)
{
	set_reg32(ixgbe, offset, get_reg32(ixgbe, offset) & ~flags);
}

static void sleep_micros(uint32_t micros)
{
	struct timespec time = {.tv_sec = micros / 1000000, .tv_nsec = (long)(micros % 1000000) * 1000};
	while (nanosleep(&time, &time) < 0 && errno == EINTR)
		;
}

// Waits until the masked bits of a register are `wanted`, at most for `millis`.
static int wait_reg32(struct ixgbe *ixgbe, const char *what, uint32_t offset, uint32_t mask, uint32_t wanted, uint32_t millis)
{
	for (uint32_t waited = 0;; waited += 100) {
		uint32_t value = get_reg32(ixgbe, offset);
		if ((value & mask) == wanted)
			return 0;
		if (waited >= millis * 1000) {
			fprintf(stderr, "%s: %s took more than %u ms (register %#x is %#x)\n",
				ixgbe->device->name, what, millis, offset, value);
			return -ETIMEDOUT;
		}
		sleep_micros(100);
	}
}

static void disable_interrupts(struct ixgbe *ixgbe)
{
	set_reg32(ixgbe, EIMC, EIMC_ALL);
	set_reg32(ixgbe, EIMC_EX(0), UINT32_MAX);
	set_reg32(ixgbe, EIMC_EX(1), UINT32_MAX);
	get_reg32(ixgbe, EICR);
}

static int reset(struct ixgbe *ixgbe)
{
	int error;

	disable_interrupts(ixgbe);
	// no DMA may be under way when the reset comes
	set_flags32(ixgbe, CTRL, CTRL_MASTER_DISABLE);
	error = wait_reg32(ixgbe, "the end of pending DMA", STATUS, STATUS_MASTER_ENABLED, 0, 80);
	if (error < 0)
		return error;
	set_reg32(ixgbe, CTRL, CTRL_RST | CTRL_LRST);
	sleep_micros(1000);
	error = wait_reg32(ixgbe, "the reset", CTRL, CTRL_RST | CTRL_LRST, 0, 100);
	if (error < 0)
		return error;
	sleep_micros(10000);
	disable_interrupts(ixgbe);
	error = wait_reg32(ixgbe, "reading the EEPROM", EEC, EEC_AUTO_RD, EEC_AUTO_RD, 500);
	if (error < 0)
		return error;
	return wait_reg32(ixgbe, "DMA initialisation", RDRXCTL, RDRXCTL_DMAIDONE, RDRXCTL_DMAIDONE, 500);
}

static void read_mac(struct ixgbe *ixgbe)
{
	uint32_t low = get_reg32(ixgbe, RAL0);
	uint32_t high = get_reg32(ixgbe, RAH0);
	for (int i = 0; i < 4; i++)
		ixgbe->mac[i] = (uint8_t)(low >> 8 * i);
	ixgbe->mac[4] = (uint8_t)high;
	ixgbe->mac[5] = (uint8_t)(high >> 8);
}

// 10 Gbit/s over SFI, as an SFP+ cage has it. The link comes up some time later.
static void start_link(struct ixgbe *ixgbe)
{
	uint32_t autoc2 = get_reg32(ixgbe, AUTOC2) & ~AUTOC2_10G_SERIAL_MASK;
	set_reg32(ixgbe, AUTOC2, autoc2 | AUTOC2_10G_SERIAL_SFI);
	uint32_t autoc = get_reg32(ixgbe, AUTOC) & ~AUTOC_LMS_MASK;
	set_reg32(ixgbe, AUTOC, autoc | AUTOC_LMS_10G_SERIAL);
	set_flags32(ixgbe, AUTOC, AUTOC_RESTART_AN);
}

static void clear_statistics(struct ixgbe *ixgbe)
{
	get_reg32(ixgbe, GPRC);
	get_reg32(ixgbe, GPTC);
}

static void init_rx(struct ixgbe *ixgbe)
{
	uint32_t hlreg0 = get_reg32(ixgbe, HLREG0) & ~(HLREG0_JUMBOEN | HLREG0_RXLNGTHERREN);
	set_reg32(ixgbe, HLREG0, hlreg0 | HLREG0_TXCRCEN | HLREG0_RXCRCSTRP | HLREG0_TXPADEN);
	// the MAC and the DMA engine must agree about the FCS, and the rest is as section 8.2.3.8.8 asks
	uint32_t rdrxctl = get_reg32(ixgbe, RDRXCTL) & ~RDRXCTL_RSCFRSTSIZE;
	set_reg32(ixgbe, RDRXCTL, rdrxctl | RDRXCTL_CRCSTRIP | RDRXCTL_RSCACKC | RDRXCTL_FCOE_WRFIX);
	set_flags32(ixgbe, CTRL_EXT, CTRL_EXT_NS_DIS | CTRL_EXT_DRV_LOAD);
	// everything that arrives is forwarded
	set_reg32(ixgbe, FCTRL, FCTRL_BAM | FCTRL_UPE | FCTRL_MPE);
}

static void init_tx(struct ixgbe *ixgbe)
{
	set_reg32(ixgbe, DTXMXSZRQ, 0xfff);
	// MTQC may change only while the arbiter rests
	set_flags32(ixgbe, RTTDCS, RTTDCS_ARBDIS);
	set_reg32(ixgbe, MTQC, 0);
	clear_flags32(ixgbe, RTTDCS, RTTDCS_ARBDIS);
	set_flags32(ixgbe, DMATXCTL, DMATXCTL_TE);
}

static int start_rx_queue(struct ixgbe *ixgbe, uint16_t index, struct descriptor *ring, uint16_t entries)
{
	struct ixgbe_rx_queue *queue = &ixgbe->rx[index];
	uint64_t address = (uint64_t)(uintptr_t)ring;

	queue->ring = ring;
	queue->mask = entries - 1;
	queue->tail_offset = RDT(index);
	queue->tail = ixgbe->device->ops->doorbell(ixgbe->device, RDT(index));
	queue->bufs = calloc(entries, sizeof(queue->bufs[0]));
	if (queue->bufs == NULL)
		return -ENOMEM;
	for (uint16_t i = 0; i < entries; i++) {
		queue->bufs[i] = pkt_buf_alloc(ixgbe->pool);
		if (queue->bufs[i] == NULL) {
			fprintf(stderr, "%s: the pool has too few buffers for a ring of %u\n", ixgbe->device->name, entries);
			return -ENOBUFS;
		}
		queue->ring[i].first = queue->bufs[i]->device_address;
		queue->ring[i].second = 0;
	}
	set_reg32(ixgbe, RDBAL(index), (uint32_t)address);
	set_reg32(ixgbe, RDBAH(index), (uint32_t)(address >> 32));
	set_reg32(ixgbe, RDLEN(index), entries * (uint32_t)sizeof(struct descriptor));
	uint32_t srrctl = get_reg32(ixgbe, SRRCTL(index)) & ~(SRRCTL_BSIZEPACKET_MASK | SRRCTL_DESCTYPE_MASK);
	set_reg32(ixgbe, SRRCTL(index), srrctl | SRRCTL_DESCTYPE_ONE_BUFFER | PKT_BUF_DATA / 1024);
	clear_flags32(ixgbe, DCA_RXCTRL(index), DCA_RXCTRL_RESERVED);
	set_flags32(ixgbe, RXDCTL(index), RXDCTL_ENABLE);
	int error = wait_reg32(ixgbe, "enabling a receive queue", RXDCTL(index), RXDCTL_ENABLE, RXDCTL_ENABLE, 50);
	if (error < 0)
		return error;
	// all but one descriptor: a ring whose tail is its head is empty
	set_reg32(ixgbe, RDT(index), entries - 1u);
	return 0;
}

static int start_tx_queue(struct ixgbe *ixgbe, uint16_t index, struct descriptor *ring, uint16_t entries)
{
	struct ixgbe_tx_queue *queue = &ixgbe->tx[index];
	uint64_t address = (uint64_t)(uintptr_t)ring;

	queue->ring = ring;
	queue->mask = entries - 1;
	queue->tail_offset = TDT(index);
	queue->tail = ixgbe->device->ops->doorbell(ixgbe->device, TDT(index));
	queue->bufs = calloc(entries, sizeof(queue->bufs[0]));
	if (queue->bufs == NULL)
		return -ENOMEM;
	set_reg32(ixgbe, TDBAL(index), (uint32_t)address);
	set_reg32(ixgbe, TDBAH(index), (uint32_t)(address >> 32));
	set_reg32(ixgbe, TDLEN(index), entries * (uint32_t)sizeof(struct descriptor));
	set_reg32(ixgbe, TDWBAL(index), 0);
	set_reg32(ixgbe, TDWBAH(index), 0);
	// prefetch early and whole cache lines; WTHRESH 0, since only each 32nd packet is reported
	uint32_t txdctl = (get_reg32(ixgbe, TXDCTL(index)) & ~0x7f7f7fu) | 36 | 8 << 8;
	set_reg32(ixgbe, TXDCTL(index), txdctl);
	set_reg32(ixgbe, TXDCTL(index), txdctl | TXDCTL_ENABLE);
	return wait_reg32(ixgbe, "enabling a transmit queue", TXDCTL(index), TXDCTL_ENABLE, TXDCTL_ENABLE, 50);
}

static int start_queues(struct ixgbe *ixgbe, const struct ixgbe_config *config)
{
	size_t ring_bytes = config->ring * sizeof(struct descriptor);
	uint8_t *ring;
	int error = dma_allocate(&ixgbe->rings, ring_bytes * (config->rx_queues + config->tx_queues));
	if (error < 0)
		return error;
	ring = ixgbe->rings.address;
	ixgbe->rx = calloc(config->rx_queues, sizeof(ixgbe->rx[0]));
	ixgbe->tx = calloc(config->tx_queues, sizeof(ixgbe->tx[0]));
	if (ixgbe->rx == NULL || ixgbe->tx == NULL)
		return -ENOMEM;
	error = ixgbe->device->ops->map(ixgbe->device, &ixgbe->rings);
	if (error < 0)
		return error;
	for (uint16_t i = 0; i < config->rx_queues; i++, ring += ring_bytes) {
		ixgbe->rx_count = i + 1;
		error = start_rx_queue(ixgbe, i, (struct descriptor *)ring, config->ring);
		if (error < 0)
			return error;
	}
	set_reg32(ixgbe, RXCTRL, RXCTRL_RXEN);
	for (uint16_t i = 0; i < config->tx_queues; i++, ring += ring_bytes) {
		ixgbe->tx_count = i + 1;
		error = start_tx_queue(ixgbe, i, (struct descriptor *)ring, config->ring);
		if (error < 0)
			return error;
	}
	return 0;
}

static int check(const struct device *device, const struct ixgbe_config *config)
{
	int queues = config->rx_queues >= 1 && config->rx_queues <= IXGBE_MAX_QUEUES &&
		     config->tx_queues >= 1 && config->tx_queues <= IXGBE_MAX_QUEUES;
	int ring = config->ring >= 64 && config->ring <= 4096 && (config->ring & (config->ring - 1)) == 0;
	if (queues && ring)
		return 0;
	fprintf(stderr, "%s: 1 to 64 queues each way, and rings of a power of two from 64 to 4096\n", device->name);
	return -EINVAL;
}

int ixgbe_open(struct ixgbe *ixgbe, struct device *device, const struct ixgbe_config *config)
{
	int error;

	memset(ixgbe, 0, sizeof(*ixgbe));
	ixgbe->device = device;
	ixgbe->pool = config->pool;
	error = check(device, config);
	if (error < 0)
		return error;
	error = device->ops->bus_master(device, 0);
	if (error < 0)
		return error;
	error = reset(ixgbe);
	if (error < 0)
		return error;
	error = device->ops->bus_master(device, 1);
	if (error < 0)
		return error;
	read_mac(ixgbe);
	start_link(ixgbe);
	clear_statistics(ixgbe);
	init_rx(ixgbe);
	init_tx(ixgbe);
	error = start_queues(ixgbe, config);
	if (error < 0)
		ixgbe_close(ixgbe);
	return error;
}

int ixgbe_wait_for_link(struct ixgbe *ixgbe, uint32_t millis)
{
	get_reg32(ixgbe, LINKS); // LINKS_UP remembers an interruption until it is read
	return wait_reg32(ixgbe, "the link", LINKS, LINKS_UP, LINKS_UP, millis) == 0;
}

void ixgbe_close(struct ixgbe *ixgbe)
{
	struct device *device = ixgbe->device;

	// after a reset without bus mastering nothing can be written any more
	reset(ixgbe);
	clear_flags32(ixgbe, CTRL_EXT, CTRL_EXT_DRV_LOAD);
	device->ops->bus_master(device, 0);
	for (uint16_t i = 0; i < ixgbe->rx_count; i++) {
		struct ixgbe_rx_queue *queue = &ixgbe->rx[i];
		for (uint32_t at = 0; queue->bufs != NULL && at <= queue->mask; at++) {
			if (queue->bufs[at] != NULL)
				pkt_buf_free(queue->bufs[at]);
		}
		free(queue->bufs);
	}
	for (uint16_t i = 0; i < ixgbe->tx_count; i++) {
		struct ixgbe_tx_queue *queue = &ixgbe->tx[i];
		for (; queue->bufs != NULL && queue->clean != queue->next; queue->clean = (queue->clean + 1) & queue->mask)
			pkt_buf_free(queue->bufs[queue->clean]);
		free(queue->bufs);
	}
	if (ixgbe->rings.address != NULL) {
		device->ops->unmap(device, &ixgbe->rings);
		dma_free(&ixgbe->rings);
	}
	free(ixgbe->rx);
	free(ixgbe->tx);
	ixgbe->rx = NULL;
	ixgbe->tx = NULL;
	ixgbe->rx_count = ixgbe->tx_count = 0;
}
