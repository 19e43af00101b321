// The least that can be done, by hand, for one purpose: no driver.
//
// floor: two rings, as any driver with a receive and a transmit queue has. Descriptor i of both
// always has buffer i, so there is no pool, no free list and nothing to remember. A report every 32
// descriptors goes to memory (head write-back), and the receive tail follows it.
//
// floor-in-place: one ring that is receive ring and transmit ring at once. With legacy descriptors
// the address stays where it is, so that one store sends a packet.
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "../c/memory.h"
#include "../c/registers.h"
#include "harness.h"

#define STRIDE (2048u + 64u)
#define REPORT 32

static struct dma_memory memory;
static volatile struct descriptor *rx_ring, *tx_ring;
static uint8_t *buffers;
static volatile uint32_t *rx_tail, *tx_tail, *sent_to;
static uint32_t position, mask;
static int in_place;

int subject_open(struct fake_nic *nic, const char *mode, uint32_t ring)
{
	in_place = strcmp(mode, "floor-in-place") == 0;
	size_t ring_bytes = ring * sizeof(struct descriptor);
	int error = dma_allocate(&memory, 2 * ring_bytes + 4096 + ring * STRIDE);
	if (error < 0) {
		fprintf(stderr, "memory: %s\n", strerror(-error));
		return error;
	}
	uint8_t *base = memory.address;
	rx_ring = (volatile struct descriptor *)base;
	// a line further than a multiple of the page: both rings' descriptors i are used together
	tx_ring = in_place ? rx_ring : (volatile struct descriptor *)(base + ring_bytes + 128);
	sent_to = (volatile uint32_t *)(base + 2 * ring_bytes + 1024);
	buffers = base + 2 * ring_bytes + 4096;
	mask = ring - 1;
	for (uint32_t i = 0; i < ring; i++) {
		rx_ring[i].first = tx_ring[i].first = (uint64_t)(uintptr_t)(buffers + i * STRIDE);
		rx_ring[i].second = 0;
	}
	uint64_t rx = (uint64_t)(uintptr_t)rx_ring, tx = (uint64_t)(uintptr_t)tx_ring, wb = (uint64_t)(uintptr_t)sent_to;
	*nic_reg(nic, RDBAL(0)) = (uint32_t)rx;
	*nic_reg(nic, RDBAH(0)) = (uint32_t)(rx >> 32);
	*nic_reg(nic, RDLEN(0)) = (uint32_t)ring_bytes;
	*nic_reg(nic, SRRCTL(0)) = in_place ? 0 : SRRCTL_DESCTYPE_ONE_BUFFER;
	*nic_reg(nic, TDBAL(0)) = (uint32_t)tx;
	*nic_reg(nic, TDBAH(0)) = (uint32_t)(tx >> 32);
	*nic_reg(nic, TDLEN(0)) = (uint32_t)ring_bytes;
	*nic_reg(nic, TDWBAL(0)) = (uint32_t)wb | TDWBAL_HEAD_WB;
	*nic_reg(nic, TDWBAH(0)) = (uint32_t)(wb >> 32);
	rx_tail = nic_reg(nic, RDT(0));
	tx_tail = nic_reg(nic, TDT(0));
	*rx_tail = ring - 1;
	return 0;
}

// Hands everything up to `next` to the transmit side, and what was sent back to the receive side.
static void write_tails(uint32_t next)
{
	if (next != position) {
		position = next;
		atomic_thread_fence(memory_order_release);
		*tx_tail = next;
	}
	*rx_tail = (*sent_to - 1) & mask;
}

static uint32_t forward_two_rings(uint32_t batch)
{
	uint32_t next = position, done;
	for (done = 0; done < batch; done++) {
		uint64_t status = rx_ring[next].second;
		if (!(status & RX_DD))
			break;
		uint8_t *data = buffers + next * STRIDE;
		uint64_t address = (uint64_t)(uintptr_t)data, length = RX_LENGTH(status);
		data[NIC_TOUCHED]++;
		uint64_t command = TX_DATA | TX_DEXT | TX_EOP | TX_IFCS;
		if (next % REPORT == REPORT - 1)
			command |= TX_RS;
		tx_ring[next].first = address;
		tx_ring[next].second = command | TX_PAYLEN(length) | length;
		rx_ring[next].first = address;
		rx_ring[next].second = 0;
		next = (next + 1) & mask;
	}
	write_tails(next);
	return done;
}

static uint32_t forward_in_place(uint32_t batch)
{
	uint32_t next = position, done;
	for (done = 0; done < batch; done++) {
		uint64_t status = rx_ring[next].second;
		if (!(status >> 32 & 1))
			break;
		buffers[next * STRIDE + NIC_TOUCHED]++;
		uint64_t command = TX_EOP | TX_IFCS;
		if (next % REPORT == REPORT - 1)
			command |= TX_RS;
		rx_ring[next].second = command | (status & 0xffff);
		next = (next + 1) & mask;
	}
	write_tails(next);
	return done;
}

uint32_t subject_forward(uint32_t batch)
{
	return in_place ? forward_in_place(batch) : forward_two_rings(batch);
}

int subject_on_hugepages(void)
{
	return dma_is_huge(&memory);
}
