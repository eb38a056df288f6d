// Every function of a reader, on a table with instruments 0 to 9, whose bids are their numbers.
#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "check.h"

static int add_bid(void *context, const void *row) {
    *(double *)context += ((const price *)row)->bid;
    return 0;
}

static int stop_at_once(void *context, const void *row) {
    (void)row;
    return ++*(int *)context;
}

static void *interrupt(void *reader) {
    CHECK(tablecast_reader_interrupt(reader) == 0);
    return NULL;
}

static void *look_up(void *reader) {
    price row;
    uint64_t key = 7;
    for (int i = 0; i < 1000; i++) {
        CHECK(tablecast_reader_get(reader, &key, sizeof key, &row, sizeof row) == 1);
        CHECK(row.instrument == 7);
    }
    return NULL;
}

static void check_schema(const tablecast_schema *schema) {
    CHECK(tablecast_schema_field_count(schema) == 4);
    CHECK(tablecast_schema_row_size(schema) == sizeof(price));
    CHECK(tablecast_schema_key_size(schema) == sizeof(uint64_t));
    tablecast_field field;
    CHECK(tablecast_schema_field(schema, 0, &field) == 0);
    CHECK(strcmp(field.name, "instrument") == 0 && field.kind == TABLECAST_KIND_U64);
    CHECK(field.key_index == 0);
    CHECK(tablecast_schema_field(schema, 1, &field) == 0);
    CHECK(field.kind == TABLECAST_KIND_TEXT && field.size == 12 && field.key_index == -1);
    CHECK(tablecast_schema_find_field(schema, "bid", &field) == 1);
    CHECK(field.kind == TABLECAST_KIND_F64 && field.offset == offsetof(price, bid));
    CHECK(tablecast_schema_find_field(schema, "ask", &field) == 0);
    uint64_t key = 0;
    CHECK(tablecast_schema_parse_key(schema, "7", &key, sizeof key) == 0 && key == 7);
    price row = {.instrument = 9};
    CHECK(tablecast_schema_key_of_row(schema, &row, sizeof row, &key, sizeof key) == 0);
    CHECK(key == 9);
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    const char *name = arguments[1];
    CHECK(strcmp(tablecast_error_message(), "") == 0);
    tablecast_reader *reader = NULL;
    CHECK(tablecast_reader_open(name, &reader) == 0);
    check_schema(tablecast_reader_schema(reader));
    CHECK(tablecast_reader_publisher_state(reader) == TABLECAST_PUBLISHER_ALIVE);
    uint64_t first = 0, version = 0;
    CHECK(tablecast_reader_version(reader, &first) == 0 && first > 0);
    size_t rows = 0;
    CHECK(tablecast_reader_count(reader, &rows) == 0 && rows == 10);

    price row;
    uint64_t key = 3;
    CHECK(tablecast_reader_get(reader, &key, sizeof key, &row, sizeof row) == 1);
    CHECK(row.instrument == 3 && row.bid == 3.0 && strcmp(row.name, "number 3") == 0);
    // Memory that is not aligned.
    char bytes[sizeof row + 1];
    CHECK(tablecast_reader_get(reader, &key, sizeof key, bytes + 1, sizeof row) == 1);
    CHECK(memcmp(bytes + 1, &row, sizeof row) == 0);
    CHECK(tablecast_reader_get_text(reader, "4", &row, sizeof row) == 1 && row.bid == 4.0);
    key = 10;
    CHECK(tablecast_reader_get(reader, &key, sizeof key, &row, sizeof row) == 0);

    const uint64_t keys[] = {8, 77, 0};
    price many[3] = {0};
    bool found[3];
    CHECK(tablecast_reader_get_many(reader, keys, sizeof *keys, 3, many, sizeof *many, found,
                                    &version) == 2);
    CHECK(version == first && found[0] && !found[1] && found[2]);
    CHECK(many[0].bid == 8.0 && many[2].instrument == 0 && many[2].name[0] == 'n');
    CHECK(tablecast_reader_get_many(reader, NULL, sizeof *keys, 0, NULL, sizeof *many, NULL,
                                    NULL) == 0);

    double sum = 0;
    CHECK(tablecast_reader_for_each(reader, add_bid, &sum, &version) == 0);
    CHECK(sum == 45.0 && version == first);
    int calls = 0;
    CHECK(tablecast_reader_for_each(reader, stop_at_once, &calls, NULL) == 0 && calls == 1);

    tablecast_snapshot *snapshot = NULL;
    for (int turn = 0; turn < 2; turn++) {
        CHECK(tablecast_reader_snapshot(reader, &snapshot) == 0);
        CHECK(tablecast_snapshot_count(snapshot) == 10);
        CHECK(tablecast_snapshot_stride(snapshot) == sizeof(price));
        CHECK(tablecast_snapshot_version(snapshot) == first);
        const price *all = tablecast_snapshot_rows(snapshot);
        sum = 0;
        for (size_t i = 0; i < 10; i++) sum += all[i].bid;
        CHECK(sum == 45.0);
    }

    // Nothing has changed yet.
    CHECK(tablecast_reader_refresh(reader) == 0);
    CHECK(tablecast_reader_wait(reader, 1) == 0);
    // Lookups of other threads go on during a wait, which is interrupted, now or before.
    pthread_t looking, interrupting;
    CHECK(pthread_create(&looking, NULL, look_up, reader) == 0);
    CHECK(pthread_create(&interrupting, NULL, interrupt, reader) == 0);
    CHECK(tablecast_reader_wait(reader, -1) == 0);
    CHECK(pthread_join(looking, NULL) == 0 && pthread_join(interrupting, NULL) == 0);

    // The test commits once for each line.
    say("ready");
    CHECK(tablecast_reader_wait(reader, -1) == 1);
    CHECK(tablecast_reader_version(reader, &version) == 0 && version > first);
    struct pollfd event = {.fd = tablecast_reader_fd(reader), .events = POLLIN};
    CHECK(event.fd >= 0);
    while (tablecast_reader_refresh(reader) == 1) {
    }
    say("ready");
    do {
        CHECK(poll(&event, 1, 60000) == 1);
    } while (tablecast_reader_refresh(reader) == 0);
    CHECK(tablecast_reader_get_text(reader, "10", &row, sizeof row) == 1 && row.bid == 10.5);

    // The publisher closes the table.
    say("ready");
    while (tablecast_reader_publisher_state(reader) != TABLECAST_PUBLISHER_CLOSED)
        CHECK(tablecast_reader_wait(reader, -1) == 1);
    // Another one gives the table other fields, which lookups and waits refuse.
    say("ready");
    int result;
    do {
        result = tablecast_reader_get_text(reader, "10", &row, sizeof row);
    } while (result >= 0);
    FAILS(TABLECAST_ERROR_SCHEMA_MISMATCH, "schema mismatch: table", result);
    do {
        result = tablecast_reader_wait(reader, 60000);
    } while (result == 1);
    FAILS(TABLECAST_ERROR_SCHEMA_MISMATCH, "schema mismatch: table", result);
    tablecast_reader_close(&reader);
    CHECK(reader == NULL && tablecast_snapshot_count(snapshot) == 10);
    tablecast_snapshot_close(&snapshot);
    say("done");
    return 0;
}
