// Wrong arguments, closed handles, threads and forks: each gives an error.
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define NULL_ARGUMENT(call) FAILS(TABLECAST_ERROR_INVALID_ARGUMENT, "it is NULL", call)

static int count_rows(void *context, const void *row) {
    (void)row;
    ++*(int *)context;
    return 0;
}

static void *wait_forever(void *reader) {
    int result;
    do {
        result = tablecast_reader_wait(reader, -1);
    } while (result == TABLECAST_ERROR_BUSY);
    CHECK(result == 0);
    return NULL;
}

// Calls that only a bug in a program would make with NULL as the handle.
static void check_null_handles(void) {
    uint64_t number = 0;
    size_t size = 0;
    const void *row = NULL;
    const tablecast_change *changes = NULL;
    tablecast_snapshot *snapshot = NULL;
    tablecast_field field;
    bool found;
    NULL_ARGUMENT(tablecast_reader_version(NULL, &number));
    NULL_ARGUMENT(tablecast_reader_count(NULL, &size));
    NULL_ARGUMENT(tablecast_reader_publisher_state(NULL));
    NULL_ARGUMENT(tablecast_reader_get(NULL, &number, sizeof number, &number, sizeof number));
    NULL_ARGUMENT(tablecast_reader_get_text(NULL, "7", &number, sizeof number));
    NULL_ARGUMENT(tablecast_reader_get_many(NULL, &number, sizeof number, 1, &number,
                                            sizeof number, &found, NULL));
    NULL_ARGUMENT(tablecast_reader_for_each(NULL, count_rows, NULL, NULL));
    NULL_ARGUMENT(tablecast_reader_snapshot(NULL, &snapshot));
    NULL_ARGUMENT(tablecast_reader_refresh(NULL));
    NULL_ARGUMENT(tablecast_reader_wait(NULL, 0));
    NULL_ARGUMENT(tablecast_reader_interrupt(NULL));
    NULL_ARGUMENT(tablecast_reader_fd(NULL));
    CHECK(tablecast_reader_schema(NULL) == NULL);
    NULL_ARGUMENT(tablecast_subscriber_version(NULL, &number));
    NULL_ARGUMENT(tablecast_subscriber_count(NULL, &size));
    NULL_ARGUMENT(tablecast_subscriber_publisher_state(NULL));
    NULL_ARGUMENT(tablecast_subscriber_get(NULL, &number, sizeof number, &row));
    NULL_ARGUMENT(tablecast_subscriber_get_text(NULL, "7", &row));
    NULL_ARGUMENT(tablecast_subscriber_for_each(NULL, count_rows, NULL));
    NULL_ARGUMENT(tablecast_subscriber_changes(NULL, &changes, &size));
    NULL_ARGUMENT(tablecast_subscriber_refresh(NULL));
    NULL_ARGUMENT(tablecast_subscriber_wait(NULL, 0));
    NULL_ARGUMENT(tablecast_subscriber_interrupt(NULL));
    NULL_ARGUMENT(tablecast_subscriber_fd(NULL));
    CHECK(tablecast_subscriber_schema(NULL) == NULL);
    CHECK(tablecast_schema_field_count(NULL) == 0 && tablecast_schema_row_size(NULL) == 0);
    CHECK(tablecast_schema_key_size(NULL) == 0);
    NULL_ARGUMENT(tablecast_schema_field(NULL, 0, &field));
    NULL_ARGUMENT(tablecast_schema_find_field(NULL, "bid", &field));
    NULL_ARGUMENT(tablecast_schema_parse_key(NULL, "7", &number, sizeof number));
    NULL_ARGUMENT(tablecast_schema_key_of_row(NULL, &number, 8, &number, 8));
    CHECK(tablecast_snapshot_count(NULL) == 0 && tablecast_snapshot_rows(NULL) == NULL);
    CHECK(tablecast_snapshot_stride(NULL) == 0 && tablecast_snapshot_version(NULL) == 0);
    tablecast_snapshot_close(NULL);
    tablecast_snapshot_close(&snapshot);
    tablecast_reader_close(NULL);
    tablecast_subscriber_close(NULL);
}

static void check_opening(const char *name) {
    tablecast_reader *reader = (void *)1;
    tablecast_subscriber *subscriber = (void *)1;
    NULL_ARGUMENT(tablecast_reader_open(NULL, &reader));
    CHECK(reader == NULL);
    NULL_ARGUMENT(tablecast_reader_open(name, NULL));
    NULL_ARGUMENT(tablecast_subscriber_open(NULL, &subscriber));
    CHECK(subscriber == NULL);
    NULL_ARGUMENT(tablecast_subscriber_open(name, NULL));
    FAILS(TABLECAST_ERROR_INVALID_ARGUMENT, "not UTF-8", tablecast_reader_open("\xff", &reader));
    FAILS(TABLECAST_ERROR_INVALID_NAME, "invalid table name",
          tablecast_reader_open("no/name", &reader));
    FAILS(TABLECAST_ERROR_NOT_FOUND, "table not found: \"no-such-table\"",
          tablecast_subscriber_open("no-such-table", &subscriber));
    FAILS(TABLECAST_ERROR_INVALID_SCHEMA, "u46",
          tablecast_reader_open_fields(name, "id:u46", NULL, &reader));
    FAILS(TABLECAST_ERROR_INVALID_ARGUMENT, "fields",
          tablecast_reader_open_fields(name, NULL, "instrument", &reader));
    FAILS(TABLECAST_ERROR_SCHEMA_MISMATCH, "field \"id\" is missing",
          tablecast_reader_open_fields(name, "id:u64", NULL, &reader));
    FAILS(TABLECAST_ERROR_SCHEMA_MISMATCH, "the key is",
          tablecast_subscriber_open_fields(name, FIELDS, "lots", &subscriber));
    FAILS(TABLECAST_ERROR_ABI_MISMATCH, "number 99",
          tablecast_reader_open_abi(99, name, NULL, NULL, &reader));
    FAILS(TABLECAST_ERROR_ABI_MISMATCH, "number 99",
          tablecast_subscriber_open_abi(99, name, NULL, NULL, &subscriber));
    CHECK(reader == NULL && subscriber == NULL);
}

static void check_reader(tablecast_reader *reader) {
    uint64_t key = 3;
    price row;
    bool found;
    NULL_ARGUMENT(tablecast_reader_get(reader, NULL, sizeof key, &row, sizeof row));
    NULL_ARGUMENT(tablecast_reader_get(reader, &key, sizeof key, NULL, sizeof row));
    FAILS(TABLECAST_ERROR_WRONG_LENGTH, "a key: it has 8 bytes, and 4 were given",
          tablecast_reader_get(reader, &key, 4, &row, sizeof row));
    FAILS(TABLECAST_ERROR_WRONG_LENGTH, "a row: it has 32 bytes, and 31 were given",
          tablecast_reader_get(reader, &key, sizeof key, &row, sizeof row - 1));
    NULL_ARGUMENT(tablecast_reader_get_text(reader, NULL, &row, sizeof row));
    FAILS(TABLECAST_ERROR_INVALID_VALUE, "instrument",
          tablecast_reader_get_text(reader, "seven", &row, sizeof row));
    FAILS(TABLECAST_ERROR_WRONG_LENGTH, "a row",
          tablecast_reader_get_text(reader, "7", &row, sizeof row + 8));
    NULL_ARGUMENT(tablecast_reader_get_many(reader, NULL, 8, 1, &row, sizeof row, &found, NULL));
    NULL_ARGUMENT(tablecast_reader_get_many(reader, &key, 8, 1, NULL, sizeof row, &found, NULL));
    NULL_ARGUMENT(tablecast_reader_get_many(reader, &key, 8, 1, &row, sizeof row, NULL, NULL));
    FAILS(TABLECAST_ERROR_INVALID_ARGUMENT, "count",
          tablecast_reader_get_many(reader, &key, 8, SIZE_MAX / 8, &row, sizeof row, &found, NULL));
    FAILS(TABLECAST_ERROR_WRONG_LENGTH, "a key",
          tablecast_reader_get_many(reader, &key, 7, 1, &row, sizeof row, &found, NULL));
    NULL_ARGUMENT(tablecast_reader_for_each(reader, NULL, NULL, NULL));
    NULL_ARGUMENT(tablecast_reader_snapshot(reader, NULL));
    NULL_ARGUMENT(tablecast_reader_version(reader, NULL));
    NULL_ARGUMENT(tablecast_reader_count(reader, NULL));
    const tablecast_schema *schema = tablecast_reader_schema(reader);
    tablecast_field field;
    FAILS(TABLECAST_ERROR_INVALID_ARGUMENT, "index", tablecast_schema_field(schema, 4, &field));
    NULL_ARGUMENT(tablecast_schema_field(schema, 0, NULL));
    NULL_ARGUMENT(tablecast_schema_find_field(schema, NULL, &field));
    NULL_ARGUMENT(tablecast_schema_find_field(schema, "bid", NULL));
    NULL_ARGUMENT(tablecast_schema_parse_key(schema, "7", NULL, sizeof key));
    FAILS(TABLECAST_ERROR_WRONG_LENGTH, "a key", tablecast_schema_parse_key(schema, "7", &key, 9));
    NULL_ARGUMENT(tablecast_schema_key_of_row(schema, NULL, sizeof row, &key, sizeof key));
    FAILS(TABLECAST_ERROR_WRONG_LENGTH, "a row",
          tablecast_schema_key_of_row(schema, &row, 1, &key, sizeof key));

    // One thread waits. Another one may look up, and not wait.
    pthread_t waiting;
    CHECK(pthread_create(&waiting, NULL, wait_forever, reader) == 0);
    while (tablecast_reader_refresh(reader) != TABLECAST_ERROR_BUSY) {
        // Valgrind runs one thread at a time, and would interrupt this one only within a refresh.
        sched_yield();
    }
    FAILS(TABLECAST_ERROR_BUSY, "handle in use", tablecast_reader_wait(reader, 0));
    FAILS(TABLECAST_ERROR_BUSY, "handle in use", tablecast_reader_fd(reader));
    CHECK(tablecast_reader_get(reader, &key, sizeof key, &row, sizeof row) == 1);
    CHECK(tablecast_reader_interrupt(reader) == 0 && pthread_join(waiting, NULL) == 0);
}

static void check_subscriber(tablecast_subscriber *subscriber) {
    const void *row;
    const tablecast_change *changes;
    size_t count;
    uint64_t key = 3;
    NULL_ARGUMENT(tablecast_subscriber_get(subscriber, NULL, sizeof key, &row));
    NULL_ARGUMENT(tablecast_subscriber_get(subscriber, &key, sizeof key, NULL));
    FAILS(TABLECAST_ERROR_WRONG_LENGTH, "a key", tablecast_subscriber_get(subscriber, &key, 1, &row));
    NULL_ARGUMENT(tablecast_subscriber_get_text(subscriber, NULL, &row));
    NULL_ARGUMENT(tablecast_subscriber_for_each(subscriber, NULL, NULL));
    NULL_ARGUMENT(tablecast_subscriber_changes(subscriber, NULL, &count));
    NULL_ARGUMENT(tablecast_subscriber_changes(subscriber, &changes, NULL));
}

// Handles of the parent are errors in a child, which can close them and open its own.
static void check_fork(const char *name, tablecast_reader *reader, tablecast_subscriber *subscriber) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        uint64_t key = 3;
        price row;
        const void *found;
        FAILS(TABLECAST_ERROR_FORKED, "forked process",
              tablecast_reader_get(reader, &key, sizeof key, &row, sizeof row));
        FAILS(TABLECAST_ERROR_FORKED, "forked process", tablecast_reader_wait(reader, 0));
        FAILS(TABLECAST_ERROR_FORKED, "forked process",
              tablecast_subscriber_get(subscriber, &key, sizeof key, &found));
        FAILS(TABLECAST_ERROR_FORKED, "forked process", tablecast_subscriber_refresh(subscriber));
        tablecast_reader_close(&reader);
        tablecast_subscriber_close(&subscriber);
        CHECK(tablecast_reader_open(name, &reader) == 0);
        CHECK(tablecast_reader_get(reader, &key, sizeof key, &row, sizeof row) == 1);
        tablecast_reader_close(&reader);
        exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    uint64_t key = 3;
    price row;
    CHECK(tablecast_reader_get(reader, &key, sizeof key, &row, sizeof row) == 1);
    CHECK(tablecast_subscriber_refresh(subscriber) >= 0);
}

int main(int count, char **arguments) {
    CHECK(count == 2);
    const char *name = arguments[1];
    check_null_handles();
    check_opening(name);
    tablecast_reader *reader = NULL;
    tablecast_subscriber *subscriber = NULL;
    CHECK(tablecast_reader_open_fields(name, FIELDS, "instrument", &reader) == 0);
    CHECK(tablecast_subscriber_open(name, &subscriber) == 0);
    check_reader(reader);
    check_subscriber(subscriber);
    check_fork(name, reader, subscriber);
    // A closed handle is NULL.
    tablecast_reader_close(&reader);
    tablecast_reader_close(&reader);
    NULL_ARGUMENT(tablecast_reader_refresh(reader));
    tablecast_subscriber_close(&subscriber);
    tablecast_subscriber_close(&subscriber);
    NULL_ARGUMENT(tablecast_subscriber_refresh(subscriber));
    return 0;
}
