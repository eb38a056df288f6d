// The loop of the benchmark in C: looks up keys all over a table.
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <tablecast.h>

typedef struct wide {
    uint64_t key;
    uint64_t version;
    char rest[48];
} wide;

static tablecast_reader *reader;

// Opens the table. Returns a negative number if that fails.
int bench_open(const char *table) {
    return tablecast_reader_open_fields(table, "key:u64,version:u64,rest:text(48)", NULL, &reader);
}

// Looks up `count` keys, each `stride` after the one before, of a table with keys below `rows`.
// Returns the time in ns, or a negative number if a key is missing.
int64_t bench_get(uint64_t first, uint64_t stride, uint64_t rows, uint64_t count) {
    struct timespec begun, ended;
    wide row;
    uint64_t key = first, sum = 0;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (uint64_t i = 0; i < count; i++) {
        key = (key + stride) % rows;
        if (tablecast_reader_get(reader, &key, sizeof key, &row, sizeof row) != 1) return -1;
        sum += row.version;
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    if (sum != count) return -1;
    return (ended.tv_sec - begun.tv_sec) * 1000000000LL + (ended.tv_nsec - begun.tv_nsec);
}

void bench_close(void) { tablecast_reader_close(&reader); }
