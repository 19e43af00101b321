#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

#define HUGE_PAGE ((size_t)2 << 20)

static int map_memfd(struct dma_memory *memory, size_t size, unsigned int flags)
{
	int fd = memfd_create("ixgbe-reference", MFD_CLOEXEC | flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (address == MAP_FAILED) {
		int error = errno;
		close(fd);
		return -error;
	}
	memory->address = address;
	memory->size = size;
	memory->fd = fd;
	memory->huge = (flags & MFD_HUGETLB) != 0;
	return 0;
}

int dma_allocate(struct dma_memory *memory, size_t size)
{
	size_t rounded = (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	if (map_memfd(memory, rounded, MFD_HUGETLB | MFD_HUGE_2MB) == 0)
		return 0;
	return map_memfd(memory, rounded, 0);
}

void dma_free(struct dma_memory *memory)
{
	if (memory->address != NULL) {
		munmap(memory->address, memory->size);
		close(memory->fd);
	}
	memory->address = NULL;
}

struct mempool *mempool_create(uint32_t entries)
{
	struct mempool *pool = calloc(1, sizeof(*pool) + entries * sizeof(pool->free_stack[0]));
	if (pool == NULL)
		return NULL;
	int error = dma_allocate(&pool->memory, entries * sizeof(struct pkt_buf));
	if (error < 0) {
		free(pool);
		errno = -error;
		return NULL;
	}
	pool->bufs = pool->memory.address;
	pool->entries = entries;
	for (uint32_t i = 0; i < entries; i++) {
		struct pkt_buf *buf = &pool->bufs[i];
		buf->pool = pool;
		buf->index = i;
		buf->device_address = (uint64_t)(uintptr_t)buf->data;
		// the first allocation gets the first buffer
		pool->free_stack[i] = entries - 1 - i;
	}
	pool->free_top = entries;
	return pool;
}

void mempool_destroy(struct mempool *pool)
{
	if (pool == NULL)
		return;
	dma_free(&pool->memory);
	free(pool);
}

uint32_t pkt_buf_alloc_batch(struct mempool *pool, struct pkt_buf *bufs[], uint32_t count)
{
	if (count > pool->free_top)
		count = pool->free_top;
	for (uint32_t i = 0; i < count; i++)
		bufs[i] = &pool->bufs[pool->free_stack[--pool->free_top]];
	return count;
}

struct pkt_buf *pkt_buf_alloc(struct mempool *pool)
{
	struct pkt_buf *buf = NULL;
	pkt_buf_alloc_batch(pool, &buf, 1);
	return buf;
}

void pkt_buf_free(struct pkt_buf *buf)
{
	struct mempool *pool = buf->pool;
	pool->free_stack[pool->free_top++] = buf->index;
}
