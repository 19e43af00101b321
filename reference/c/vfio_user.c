// The client's half of vfio-user, as far as a driver that polls needs it: version, region 0 (the
// registers) and 7 (configuration space), DMA memory. Registers in pages that the server lets be
// mapped are loads and stores; all others are a message and its answer.
#define _GNU_SOURCE
#include "vfio_user.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "memory.h"

enum command {
	VERSION = 1,
	DMA_MAP = 2,
	DMA_UNMAP = 3,
	REGION_INFO = 5,
	REGION_READ = 9,
	REGION_WRITE = 10,
};

#define TYPE_MASK 0xfu
#define TYPE_REPLY 1u
#define FLAG_ERROR (1u << 5)

#define REGION_BAR0 0
#define REGION_CONFIG 7
#define REGION_MMAP (1u << 2)
#define REGION_CAPS (1u << 3)
#define CAP_SPARSE_MMAP 1
#define DMA_READ_WRITE 3u

#define CONFIG_COMMAND 4
#define COMMAND_MEMORY (1u << 1)
#define COMMAND_MASTER (1u << 2)

#define MAX_AREAS 16
#define MAX_PAYLOAD 4096
#define PATIENCE_SECONDS 10

struct header {
	uint16_t id;
	uint16_t command;
	uint32_t size; // with the header
	uint32_t flags;
	uint32_t error;
};

struct region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
	uint8_t data[4];
} __attribute__((packed));

struct region_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t cap_offset;
	uint64_t size;
	uint64_t offset;
};

struct dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset;
	uint64_t address;
	uint64_t size;
};

struct dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t address;
	uint64_t size;
};

// A part of the registers that is mapped.
struct area {
	uint64_t start;
	uint64_t size;
	uint8_t *memory;
};

struct vfio_user {
	struct device device;
	int socket;
	uint16_t id;
	uint32_t area_count;
	struct area areas[MAX_AREAS];
	char name[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

static struct vfio_user *of(struct device *device)
{
	return (struct vfio_user *)device; // the first member
}

static int send_message(struct vfio_user *client, struct header *header, const void *payload, int fd)
{
	struct iovec parts[] = {{header, sizeof(*header)}, {(void *)payload, header->size - sizeof(*header)}};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
	}
	// messages are short: a socket takes one whole or not at all
	ssize_t sent = sendmsg(client->socket, &message, MSG_NOSIGNAL);
	return sent == (ssize_t)header->size ? 0 : -EIO;
}

// Receives exactly so many bytes, and a file descriptor if one comes along.
static int receive_bytes(struct vfio_user *client, void *bytes, size_t size, int *fd)
{
	while (size > 0) {
		struct iovec part = {bytes, size};
		union {
			struct cmsghdr header;
			char space[CMSG_SPACE(sizeof(int))];
		} control;
		struct msghdr message = {
			.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
		ssize_t received = recvmsg(client->socket, &message, MSG_CMSG_CLOEXEC);
		if (received < 0 && errno == EINTR)
			continue;
		if (received <= 0)
			return -EIO;
		struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
		if (rights != NULL && rights->cmsg_type == SCM_RIGHTS && fd != NULL)
			memcpy(fd, CMSG_DATA(rights), sizeof(*fd));
		bytes = (uint8_t *)bytes + received;
		size -= (size_t)received;
	}
	return 0;
}

// Sends a command and waits for its answer, whose payload goes into `answer`. Returns the bytes of
// the payload or -errno.
static int ask(struct vfio_user *client, enum command command, const void *payload, size_t size, int fd, void *answer, size_t room, int *answer_fd)
{
	struct header header = {
		.id = ++client->id, .command = (uint16_t)command, .size = (uint32_t)(sizeof(header) + size)};
	int error = send_message(client, &header, payload, fd);
	if (error < 0)
		return error;
	error = receive_bytes(client, &header, sizeof(header), answer_fd);
	if (error < 0)
		return error;
	if (header.id != client->id || (header.flags & TYPE_MASK) != TYPE_REPLY || header.size < sizeof(header))
		return -EPROTO;
	size_t length = header.size - sizeof(header);
	if (length > room)
		return -EPROTO;
	error = receive_bytes(client, answer, length, answer_fd);
	if (error < 0)
		return error;
	if (header.flags & FLAG_ERROR)
		return header.error > 0 && header.error < 4096 ? -(int)header.error : -EPROTO;
	return (int)length;
}

static uint32_t region_read(struct vfio_user *client, uint32_t region, uint64_t offset, uint32_t count)
{
	struct region_access access = {.offset = offset, .region = region, .count = count};
	struct region_access answer = {0};
	uint32_t value = 0;
	int length = ask(client, REGION_READ, &access, sizeof(access) - sizeof(access.data), -1, &answer, sizeof(answer), NULL);
	if (length < (int)(sizeof(access) - sizeof(access.data) + count))
		return UINT32_MAX; // as if nobody were on the bus
	memcpy(&value, answer.data, count);
	return value;
}

static void region_write(struct vfio_user *client, uint32_t region, uint64_t offset, uint32_t count, uint32_t value)
{
	struct region_access access = {.offset = offset, .region = region, .count = count};
	struct region_access answer;
	memcpy(access.data, &value, count);
	size_t size = sizeof(access) - sizeof(access.data) + count;
	int error = ask(client, REGION_WRITE, &access, size, -1, &answer, sizeof(answer), NULL);
	if (error < 0)
		fprintf(stderr, "%s: register %#lx was not written: %s\n", client->name, offset, strerror(-error));
}

// Where a register is mapped, or NULL.
static volatile uint32_t *mapped(struct vfio_user *client, uint32_t offset)
{
	for (uint32_t i = 0; i < client->area_count; i++) {
		struct area *area = &client->areas[i];
		if (offset >= area->start && offset + 4 <= area->start + area->size)
			return (volatile uint32_t *)(area->memory + (offset - area->start));
	}
	return NULL;
}

static uint32_t remote_read32(struct device *device, uint32_t offset)
{
	volatile uint32_t *memory = mapped(of(device), offset);
	return memory != NULL ? *memory : region_read(of(device), REGION_BAR0, offset, 4);
}

static void remote_write32(struct device *device, uint32_t offset, uint32_t value)
{
	volatile uint32_t *memory = mapped(of(device), offset);
	if (memory != NULL)
		*memory = value;
	else
		region_write(of(device), REGION_BAR0, offset, 4, value);
}

static volatile uint32_t *remote_doorbell(struct device *device, uint32_t offset)
{
	return mapped(of(device), offset);
}

static int remote_bus_master(struct device *device, int on)
{
	uint32_t command = region_read(of(device), REGION_CONFIG, CONFIG_COMMAND, 2);
	if (command == UINT32_MAX) {
		fprintf(stderr, "%s: the device does not answer\n", device->name);
		return -EIO;
	}
	command = (command | COMMAND_MEMORY) & ~COMMAND_MASTER;
	region_write(of(device), REGION_CONFIG, CONFIG_COMMAND, 2, on ? command | COMMAND_MASTER : command);
	return 0;
}

static int remote_map(struct device *device, const struct dma_memory *memory)
{
	struct dma_map map = {
		.argsz = sizeof(map), .flags = DMA_READ_WRITE, .address = (uint64_t)(uintptr_t)memory->address, .size = memory->size};
	struct dma_map answer;
	int error = ask(of(device), DMA_MAP, &map, sizeof(map), memory->fd, &answer, sizeof(answer), NULL);
	if (error < 0) {
		fprintf(stderr, "%s: memory can't be mapped: %s\n", device->name, strerror(-error));
		return error;
	}
	return 0;
}

static void remote_unmap(struct device *device, const struct dma_memory *memory)
{
	struct dma_unmap unmap = {
		.argsz = sizeof(unmap), .address = (uint64_t)(uintptr_t)memory->address, .size = memory->size};
	struct dma_unmap answer;
	int error = ask(of(device), DMA_UNMAP, &unmap, sizeof(unmap), -1, &answer, sizeof(answer), NULL);
	if (error < 0)
		fprintf(stderr, "%s: memory can't be unmapped: %s\n", device->name, strerror(-error));
}

static const struct device_ops remote_ops = {
	.read32 = remote_read32,
	.write32 = remote_write32,
	.doorbell = remote_doorbell,
	.bus_master = remote_bus_master,
	.map = remote_map,
	.unmap = remote_unmap,
};

static int map_area(struct vfio_user *client, int fd, uint64_t file_offset, uint64_t start, uint64_t size)
{
	if (client->area_count == MAX_AREAS || size == 0 || size > (64u << 20))
		return -EPROTO;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(file_offset + start));
	if (memory == MAP_FAILED)
		return -errno;
	client->areas[client->area_count++] = (struct area){start, size, memory};
	return 0;
}

// Maps what the server lets be mapped of the registers.
static int map_registers(struct vfio_user *client)
{
	_Alignas(8) uint8_t answer[MAX_PAYLOAD];
	struct region_info info = {.argsz = sizeof(answer), .index = REGION_BAR0};
	int fd = -1;
	int length = ask(client, REGION_INFO, &info, sizeof(info), -1, answer, sizeof(answer), &fd);
	int error = length;
	if (length < (int)sizeof(info)) {
		error = length < 0 ? length : -EPROTO;
		goto out;
	}
	memcpy(&info, answer, sizeof(info));
	error = 0;
	if (fd < 0 || !(info.flags & REGION_MMAP))
		goto out; // all by message
	if (!(info.flags & REGION_CAPS)) {
		error = map_area(client, fd, info.offset, 0, info.size);
		goto out;
	}
	for (uint32_t at = info.cap_offset; at != 0 && at + 16 <= (uint32_t)length;) {
		uint16_t id;
		uint32_t next, count;
		memcpy(&id, answer + at, sizeof(id));
		memcpy(&next, answer + at + 4, sizeof(next));
		memcpy(&count, answer + at + 8, sizeof(count));
		for (uint32_t i = 0; id == CAP_SPARSE_MMAP && i < count && error == 0; i++) {
			uint64_t area[2];
			uint32_t place = at + 16 + i * (uint32_t)sizeof(area);
			if (place + sizeof(area) > (uint32_t)length) {
				error = -EPROTO;
				break;
			}
			memcpy(area, answer + place, sizeof(area));
			error = map_area(client, fd, info.offset, area[0], area[1]);
		}
		if (next <= at)
			break; // the last one, or a list that goes round
		at = next;
	}
out:
	if (fd >= 0)
		close(fd);
	return error;
}

static int handshake(struct vfio_user *client)
{
	static const char capabilities[] = "{\"capabilities\":{\"max_msg_fds\":1,\"max_data_xfer_size\":4096}}";
	struct {
		uint16_t major;
		uint16_t minor;
		char json[sizeof(capabilities)];
	} version = {0, 1, {0}};
	uint8_t answer[MAX_PAYLOAD];
	memcpy(version.json, capabilities, sizeof(capabilities));
	int length = ask(client, VERSION, &version, sizeof(version), -1, answer, sizeof(answer), NULL);
	if (length < 4)
		return length < 0 ? length : -EPROTO;
	if (answer[0] != 0 || answer[1] != 0)
		return -EPROTONOSUPPORT;
	return map_registers(client);
}

struct device *vfio_user_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
	struct vfio_user *client = calloc(1, sizeof(*client));
	int error;

	if (client == NULL || strlen(path) >= sizeof(address.sun_path)) {
		fprintf(stderr, "%s: the path is too long\n", path);
		free(client);
		return NULL;
	}
	strcpy(address.sun_path, path);
	strcpy(client->name, path);
	client->device = (struct device){.ops = &remote_ops, .name = client->name};
	client->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->socket < 0 || connect(client->socket, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(client->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		error = -errno;
	else
		error = handshake(client);
	if (error == 0)
		return &client->device;
	fprintf(stderr, "%s: %s\n", path, strerror(-error));
	vfio_user_disconnect(&client->device);
	return NULL;
}

void vfio_user_disconnect(struct device *device)
{
	struct vfio_user *client = of(device);
	for (uint32_t i = 0; i < client->area_count; i++)
		munmap(client->areas[i].memory, client->areas[i].size);
	if (client->socket >= 0)
		close(client->socket);
	free(client);
}
