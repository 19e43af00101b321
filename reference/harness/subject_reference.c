// The C reference as a subject.
#include <stdio.h>

#include "../c/ixgbe.h"
#include "harness.h"

#define POOL 4096
#define MAX_BATCH 2048

static struct fake_nic *fake;
static struct ixgbe ixgbe;
static struct mempool *pool;

static uint32_t fake_read32(struct device *device, uint32_t offset)
{
	(void)device;
	return *nic_reg(fake, offset);
}

static void fake_write32(struct device *device, uint32_t offset, uint32_t value)
{
	(void)device;
	*nic_reg(fake, offset) = value;
	fake_nic_answer(fake);
}

static volatile uint32_t *fake_doorbell(struct device *device, uint32_t offset)
{
	(void)device;
	return nic_reg(fake, offset);
}

static int fake_bus_master(struct device *device, int on)
{
	(void)device;
	(void)on;
	return 0;
}

static int fake_map(struct device *device, const struct dma_memory *memory)
{
	(void)device;
	(void)memory;
	return 0;
}

static void fake_unmap(struct device *device, const struct dma_memory *memory)
{
	(void)device;
	(void)memory;
}

static const struct device_ops fake_ops = {
	.read32 = fake_read32,
	.write32 = fake_write32,
	.doorbell = fake_doorbell,
	.bus_master = fake_bus_master,
	.map = fake_map,
	.unmap = fake_unmap,
};

static struct device device = {.ops = &fake_ops, .name = "fake"};

int subject_open(struct fake_nic *nic, const char *mode, uint32_t ring)
{
	(void)mode;
	fake = nic;
	pool = mempool_create(POOL + 2 * ring);
	if (pool == NULL) {
		perror("pool");
		return -1;
	}
	struct ixgbe_config config = {.rx_queues = 1, .tx_queues = 1, .ring = (uint16_t)ring, .pool = pool};
	return ixgbe_open(&ixgbe, &device, &config);
}

uint32_t subject_forward(uint32_t batch)
{
	struct pkt_buf *bufs[MAX_BATCH];
	uint32_t received = ixgbe_rx_batch(&ixgbe, 0, bufs, batch);
	for (uint32_t i = 0; i < received; i++)
		bufs[i]->data[NIC_TOUCHED]++;
	uint32_t sent = ixgbe_tx_batch(&ixgbe, 0, bufs, received);
	for (uint32_t i = sent; i < received; i++)
		pkt_buf_free(bufs[i]);
	return sent;
}

int subject_on_hugepages(void)
{
	return dma_is_huge(&pool->memory);
}
