// Times a driver on a fake device, one command a line on standard input, one answer a line on
// standard output. crates/barewire-bench speaks the same lines for the Rust driver:
//
//   run BATCH SECTIONS       time that many sections, caches warm
//     cycles PACKETS OVERHEAD CALIBRATION SHORT C C C ...
//   evict BATCH SECTIONS     the same, with the first two caches emptied before each section
//   verify BATCH PACKETS     forward frames that are written, and looked at when they leave
//     verified PACKETS
//   quit
//
// A section is one or several calls that forward PACKETS packets together; C is its time-stamp
// cycles. OVERHEAD is those of an empty section, CALIBRATION those of a fixed piece of arithmetic:
// a processor that is shared or slowed down takes longer for it. SHORT counts sections that
// forwarded less than they should; they are left out.
#define _GNU_SOURCE
#include "harness.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

// Packets of a section, at least, where the ring is large enough.
#define SECTION 64
#define WARM_UP 200
#define OVERHEADS 101
// More than any processor's first two caches, less than its last.
#define EVICT_BYTES ((size_t)3 << 20)

static struct fake_nic nic;
static uint32_t ring_size;
static FILE *answers;

// When all instructions before have been carried out, and before any memory access behind is made.
static inline uint64_t now(void)
{
	unsigned int processor;
	uint64_t cycles = __rdtscp(&processor);
	atomic_thread_fence(memory_order_seq_cst);
	return cycles;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

// The code under measurement, kept apart from what calls it. Counting tools are told to look at this function only.
__attribute__((noipa)) uint32_t forward_section(uint32_t batch, uint32_t calls)
{
	uint32_t forwarded = 0;
	for (uint32_t i = 0; i < calls; i++)
		forwarded += subject_forward(batch);
	return forwarded;
}

static uint64_t overhead(void)
{
	uint64_t samples[OVERHEADS];
	for (int i = 0; i < OVERHEADS; i++) {
		uint64_t begin = now();
		forward_section(1, 0);
		samples[i] = now() - begin;
	}
	qsort(samples, OVERHEADS, sizeof(samples[0]), compare);
	return samples[OVERHEADS / 2];
}

// Four chains of multiplications: enough to notice who shares the core's units.
static uint64_t calibrate(void)
{
	uint64_t a = 1, b = 2, c = 3, d = 4;
	uint64_t begin = now();
	for (int i = 0; i < 20000; i++) {
		a = a * 6364136223846793005u + 1;
		b = b * 6364136223846793005u + 3;
		c = c * 6364136223846793005u + 5;
		d = d * 6364136223846793005u + 7;
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
	}
	return now() - begin;
}

static void evict(const uint8_t *memory)
{
	for (size_t i = 0; i < EVICT_BYTES; i += 64)
		(void)*(const volatile uint8_t *)&memory[i];
}

static int run(uint32_t batch, uint32_t sections, int cold)
{
	uint32_t packets = batch > SECTION ? batch : SECTION;
	if (packets > ring_size / 2)
		packets = ring_size / 2;
	uint32_t calls = packets / batch;
	packets = calls * batch;
	if (calls == 0 || sections == 0) {
		fprintf(answers, "error: batches of 1 to %u fit this ring\n", ring_size / 2);
		return 0;
	}
	uint64_t *cycles = calloc(sections, sizeof(cycles[0]));
	uint8_t *memory = cold ? malloc(EVICT_BYTES) : NULL;
	if (cycles == NULL || (cold && memory == NULL))
		return -1;
	if (cold)
		memset(memory, 1, EVICT_BYTES);
	uint32_t shorts = 0, kept = 0;
	uint64_t before = calibrate();
	for (uint32_t i = 0; i < sections + WARM_UP; i++) {
		fake_nic_step(&nic, packets);
		if (cold)
			evict(memory);
		uint64_t begin = now();
		uint32_t forwarded = forward_section(batch, calls);
		uint64_t end = now();
		if (i < WARM_UP)
			continue;
		if (forwarded == packets)
			cycles[kept++] = end - begin;
		else
			shorts++;
	}
	uint64_t after = calibrate();
	fprintf(answers, "cycles %u %" PRIu64 " %" PRIu64 " %u", packets, overhead(), before > after ? before : after, shorts);
	for (uint32_t i = 0; i < kept; i++)
		fprintf(answers, " %" PRIu64, cycles[i]);
	fputc('\n', answers);
	free(cycles);
	free(memory);
	return 0;
}

static void verify(uint32_t batch, uint64_t packets)
{
	// frames that are still on their way were never written
	fake_nic_step(&nic, 0);
	while (forward_section(batch, 1) > 0)
		fake_nic_step(&nic, 0);
	nic.checking = 1;
	nic.received = nic.sent;
	nic.wrong = 0;
	uint64_t first = nic.sent;
	uint32_t idle = 0;
	while (nic.sent - first < packets && idle < 1000) {
		uint64_t left = packets - (nic.received - first);
		uint64_t before = nic.sent;
		fake_nic_step(&nic, left < batch ? (uint32_t)left : batch);
		forward_section(batch, 1);
		idle = nic.sent == before ? idle + 1 : 0;
	}
	nic.checking = 0;
	if (nic.wrong == 0 && nic.sent - first == packets)
		fprintf(answers, "verified %" PRIu64 "\n", packets);
	else
		fprintf(answers, "error: %" PRIu64 " of %" PRIu64 " frames came out, %" PRIu64 " of them wrong\n",
			nic.sent - first, packets, nic.wrong);
}

static int serve(void)
{
	char line[128];
	while (fgets(line, sizeof(line), stdin) != NULL) {
		uint32_t batch, sections;
		uint64_t packets;
		if (sscanf(line, "run %u %u", &batch, &sections) == 2 && batch > 0) {
			if (run(batch, sections, 0) < 0)
				return 1;
		} else if (sscanf(line, "evict %u %u", &batch, &sections) == 2 && batch > 0) {
			if (run(batch, sections, 1) < 0)
				return 1;
		} else if (sscanf(line, "verify %u %" SCNu64, &batch, &packets) == 2 && batch > 0) {
			verify(batch, packets);
		} else if (strcmp(line, "quit\n") == 0) {
			return 0;
		} else {
			fprintf(answers, "error: unknown command\n");
		}
		fflush(answers);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s SUBJECT RING\n", argv[0]);
		return 2;
	}
	ring_size = (uint32_t)strtoul(argv[2], NULL, 10);
	if (ring_size < 64 || ring_size > 4096 || (ring_size & (ring_size - 1)) != 0) {
		fprintf(stderr, "a ring has a power of two from 64 to 4096 descriptors\n");
		return 2;
	}
	// what a driver prints must not get among the answers
	answers = fdopen(dup(STDOUT_FILENO), "w");
	if (answers == NULL || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 || fake_nic_create(&nic) < 0) {
		fprintf(stderr, "can't set up the device\n");
		return 1;
	}
	if (subject_open(&nic, argv[1], ring_size) < 0) {
		fprintf(stderr, "%s does not start\n", argv[1]);
		return 1;
	}
	fprintf(answers, "ready %s %u %s\n", argv[1], ring_size, subject_on_hugepages() ? "hugepages" : "ordinary");
	fflush(answers);
	return serve();
}
