// Memory that a device sees, and packet buffers in it.
#ifndef MEMORY_H
#define MEMORY_H

#include <stddef.h>
#include <stdint.h>

// Memory that stays where it is. A device finds it at the address it has in this process.
struct dma_memory {
	void *address;
	size_t size;
	int fd; // a memfd, for a device in another process
	int huge;
};

// Zeroed memory of at least `size` bytes, on 2 MiB hugepages where there are some. 0 or -errno.
int dma_allocate(struct dma_memory *memory, size_t size);
void dma_free(struct dma_memory *memory);

static inline int dma_is_huge(const struct dma_memory *memory)
{
	return memory->huge;
}

// Bytes of a buffer that a device may fill.
#define PKT_BUF_DATA 2048

struct mempool;

// A packet: the bytes and, in front of them, what the driver knows of them. One cache line of
// metadata; with the data it makes an odd number of lines, so that the heads of consecutive packets
// spread over the sets of a cache.
struct pkt_buf {
	struct mempool *pool;
	uint64_t device_address; // of `data`
	uint32_t index;
	uint32_t size;
	_Alignas(64) uint8_t data[PKT_BUF_DATA];
};

// A pool of packet buffers, for one thread: a stack of the free ones.
struct mempool {
	struct dma_memory memory;
	struct pkt_buf *bufs;
	uint32_t entries;
	uint32_t free_top;
	uint32_t free_stack[];
};

// A pool, or NULL with errno set.
struct mempool *mempool_create(uint32_t entries);
// Frees the pool. All buffers must be back, and no device may know the memory any more.
void mempool_destroy(struct mempool *pool);

// Takes up to `count` buffers out of the pool and returns how many there were.
uint32_t pkt_buf_alloc_batch(struct mempool *pool, struct pkt_buf *bufs[], uint32_t count);
// Takes one buffer, or NULL when there is none.
struct pkt_buf *pkt_buf_alloc(struct mempool *pool);
// Gives a buffer back to the pool that it came from.
void pkt_buf_free(struct pkt_buf *buf);

#endif
